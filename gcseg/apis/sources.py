"""The files to predict on: folders and patterns spread into images and videos."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gcseg.apis.images import IMAGE_SUFFIXES
from gcseg.apis.output_files import KINDS, output_names
from gcseg.apis.video import VIDEO_SUFFIXES
from gcseg.utils.errors import DataError


@dataclass(frozen=True)
class Source:
    """A file to predict on.

    Attributes:
        file: absolute path.
        name: of its results, without suffix; it may have folders in it.
    """

    file: Path
    name: str

    @property
    def is_video(self) -> bool:
        """Whether it is taken for a video, by its suffix."""
        return self.file.suffix.lower() in VIDEO_SUFFIXES


def find_sources(
    inputs: Sequence[str | os.PathLike], recursive: bool = False, out: str | os.PathLike | None = None
) -> list[Source]:
    """Spread folders and patterns into files.

    Args:
        inputs: see :func:`gcseg.apis.predict.predict`.
        recursive: folders with all folders in them.
        out: files in its folders of results (``overlay``, ``index`` ...) are not taken from folders and patterns.

    Raises:
        DataError: an input that is not there, or a folder or pattern without images and videos.
    """
    suffixes = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
    results = set() if out is None else {Path(out).expanduser().absolute() / kind for kind in KINDS}
    found: dict[Path, Path] = {}
    for given in inputs:
        if not os.fspath(given):
            raise DataError("an input without a name ('', maybe of an unset variable); '.' is the current folder")
        pattern = Path(given).expanduser()
        path = pattern.absolute()
        if path.is_file():
            found.setdefault(path, path.parent)
            continue
        if path.is_dir():
            folder, files = path, path.rglob("*") if recursive else path.iterdir()
        elif glob.has_magic(str(pattern)):  # and not the folder that one stands in, whose name may have brackets
            folder = next(above for above in pattern.parents if not glob.has_magic(str(above))).absolute()
            files = (Path(name).absolute() for name in glob.iglob(str(pattern), recursive=True))
        else:
            raise DataError(f"{given}: no such file or folder")
        fitting = sorted(f for f in files if f.suffix.lower() in suffixes and f.is_file())
        kept = [f for f in fitting if not results.intersection(f.parents)]
        if not kept:
            hint = "" if recursive or not path.is_dir() else "; --recursive looks into the folders in it, too"
            hint = f", apart from results in {out}; give another folder for the results" if fitting else hint
            raise DataError(f"{given}: no images or videos there ({', '.join(suffixes)}){hint}")
        for file in kept:
            found.setdefault(file, folder)
    return [Source(file, name) for file, name in zip(found, output_names(list(found.items())), strict=True)]
