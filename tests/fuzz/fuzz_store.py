"""The decoded store: its index and its arrays, behind a data set that reads it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from formats import GREY, RGB, png
from fuzzing import Case, Files, Target, Wrong
from mutations import ODD, blind, replace_node

from gcseg.utils.errors import GcsegError

_SIZE = 8, 12
_RNG = np.random.default_rng(0)
_IMAGES = [_RNG.integers(0, 256, (*_SIZE, 3), dtype=np.uint8) for _ in range(3)]
_LABELS = [_RNG.integers(0, 5, _SIZE, dtype=np.uint8) for _ in range(3)]
_TIME_NS = 1_700_000_000_000_000_000
_PIPELINE = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}, {"type": "PackSegInputs"}]


def _sources() -> Files:
    files: Files = {f"images/{i}.png": png(pixels, RGB) for i, pixels in enumerate(_IMAGES)}
    return files | {f"labels/{i}.png": png(pixels, GREY) for i, pixels in enumerate(_LABELS)}


def _date(folder: Path) -> None:
    for name in _sources():
        if (folder / name).exists():
            os.utime(folder / name, ns=(_TIME_NS, _TIME_NS))


def _dataset(folder: Path, store: bool) -> Any:
    from gcseg.registry import DATASETS

    return DATASETS.build(
        dict(
            type="BaseSegDataset",
            data_root=str(folder),
            data_prefix=dict(img_path="images", seg_map_path="labels"),
            img_suffix=".png",
            metainfo=dict(classes=["a", "b", "c", "d", "e"]),
            pipeline=_PIPELINE,
            store=store or None,
            _scope_="gcseg",
        )
    )


@cache
def _stored() -> Files:
    """The files of a good store."""
    from gcseg.datasets.converters.store import write_store

    folder = Path(tempfile.mkdtemp(prefix="fuzz-store-"))
    try:
        Case(_sources(), []).write(folder)
        _date(folder)
        write_store([_dataset(folder, False)], folder / "decoded_store", threads=1, say=lambda line: None)
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted((folder / "decoded_store").rglob("*"))
            if path.is_file() and path.name != "lock"
        }
    finally:
        shutil.rmtree(folder)


_INDEX = "decoded_store/index.jsonl"


def _make(rng: Random) -> Case:
    files: Files = _sources() | _stored()
    index = files[_INDEX]
    assert isinstance(index, bytes)
    facts = {"same": True, "good": False}
    what = rng.choice(("index", "index", "index", "line", "line", "array", "array", "absent", "source", "good"))
    victim = rng.choice([name for name in files if name.endswith(".raw")])
    if what == "index":
        files[_INDEX], note = blind(index, rng, [b"\n".join(reversed(index.split(b"\n")))])
        victim = _INDEX
    elif what == "line":
        lines = index.decode().splitlines()
        at = rng.randrange(1, len(lines))
        value = rng.choice(ODD)
        tree, place = replace_node(json.loads(lines[at].rpartition(" ")[0]), rng, value)
        lines[at] = json.dumps(tree) + " " + lines[at].rpartition(" ")[2]
        files[_INDEX], note = "".join(line + "\n" for line in lines).encode(), f"line {at} {place}: {value!r}"[:200]
        victim = _INDEX
    elif what == "array":
        before = files[victim]
        assert isinstance(before, bytes)
        files[victim], note = blind(before, rng)
        facts["same"] = len(files[victim]) != len(before)  # of one length, it cannot be told from the other
    elif what == "absent":
        note = rng.choice(("file", "folder", "link", "device"))
        files[victim] = {"file": b"", "folder": None, "link": "nowhere", "device": "/dev/zero"}[note]
    elif what == "source":
        victim = rng.choice(list(_sources()))
        content = files[victim]
        assert isinstance(content, bytes)
        files[victim], note = content + b"x", "longer"
    else:
        note, facts["good"] = "", True
    names = ["decoded_store"] if facts["good"] else [Path(victim).name.removesuffix(".raw"), "decoded_store"]
    return Case(files, names, f"{what} {Path(victim).name}: {note}", facts)


def _check(case: Case, folder: Path) -> None:
    _date(folder)
    try:
        dataset = _dataset(folder, True)
        items = [dataset[i] for i in range(len(dataset))]
    except GcsegError as error:
        if case.facts["good"]:
            raise Wrong(f"refuses a good store: {error}") from error
        raise
    if len(items) != len(_IMAGES):
        raise Wrong(f"{len(items)} items")
    for item, image, label in zip(items, _IMAGES, _LABELS, strict=True):
        got, seen = item["inputs"].numpy(), item["data_samples"].gt_sem_seg.data[0].numpy()
        if got.dtype != np.uint8 or got.shape != (3, *_SIZE) or seen.shape != _SIZE:
            raise Wrong(f"an image of {got.shape} and a label of {seen.shape}")
        if set(np.unique(seen)) - {0, 1, 2, 3, 4, 255}:
            raise Wrong("labels out of range")
        same = np.array_equal(got[::-1].transpose(1, 2, 0), image) and np.array_equal(seen, label)
        if case.facts["same"] and not same:
            raise Wrong("other pixels than were stored")


def targets() -> dict[str, Target]:
    """The store."""
    return {"store": Target("store", _make, _check)}
