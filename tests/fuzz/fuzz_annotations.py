"""What the converters read: SBD's .mat files, and the polygons of Cityscapes."""

from __future__ import annotations

import io
import json
import zlib
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from fuzzing import Case, Target, Wrong
from mutations import ODD, blind, replace_node

_VALUES = np.random.default_rng(0).integers(0, 21, (12, 17), dtype=np.uint8)


@cache
def _mat(kind: str) -> bytes:
    from scipy.io import savemat

    inner: dict[str, Any] = {"Segmentation": _VALUES, "Boundaries": np.zeros((20, 1), object)}
    inner["Boundaries"][:] = 0
    content: dict[str, Any] = {"GTcls": {**inner, "CategoriesPresent": np.arange(3, dtype=np.uint8)}}
    file = io.BytesIO()
    if kind == "version 4":
        savemat(file, {"GTcls": _VALUES.astype(float)}, format="4")
    elif kind == "no struct":
        savemat(file, {"GTcls": _VALUES})
    elif kind == "wrong values":
        savemat(file, {"GTcls": {"Segmentation": _VALUES + np.uint8(200)}})
    elif kind == "float":
        savemat(file, {"GTcls": {"Segmentation": _VALUES.astype(float)}})
    elif kind == "empty":
        savemat(file, {"GTcls": {"Segmentation": np.zeros((0, 0), np.uint8)}})
    elif kind == "cube":
        savemat(file, {"GTcls": {"Segmentation": np.zeros((2, 3, 4), np.uint8)}})
    elif kind == "text":
        savemat(file, {"GTcls": {"Segmentation": "abc"}})
    elif kind == "version 7.3":
        return b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n" + bytes(400)
    else:
        savemat(file, content, do_compression=kind == "packed")
    return file.getvalue()


_ODD_MATS = ("version 4", "no struct", "wrong values", "float", "empty", "cube", "text", "version 7.3")


def _make_mat(rng: Random) -> Case:
    way = rng.random()
    facts = {"good": False, "checksum": False}
    if way < 0.05:
        data, note = _mat(rng.choice(("packed", "plain"))), "good"
        facts["good"] = True
    elif way < 0.12:
        note = rng.choice(_ODD_MATS)
        data = _mat(note)
    elif way < 0.5:
        data, note = blind(_mat("packed"), rng, [_mat("plain")])
        facts["checksum"] = "splice" not in note and not {"repeat", "number"} & set(note.split("+"))
        note = f"packed: {note}"
    elif way < 0.75:
        whole = _mat("packed")
        raw, note = blind(zlib.decompress(whole[136:]), rng)
        packed = zlib.compress(raw)
        data, note = whole[:132] + len(packed).to_bytes(4, "little") + packed, f"inside: {note}"
    else:
        data, note = blind(_mat("plain"), rng, [_mat("packed"), _mat("version 4")])
    return Case({"2008_000001.mat": data}, ["2008_000001.mat"], note, facts)


def _check_mat(case: Case, folder: Path) -> None:
    from gcseg.datasets.converters.voc_aug import read_sbd
    from gcseg.utils.errors import GcsegError

    try:
        label = read_sbd(folder / "2008_000001.mat")
    except GcsegError as error:
        if case.facts["good"]:
            raise Wrong(f"refuses a good file: {error}") from error
        raise
    if label.ndim != 2 or label.dtype != np.uint8 or not label.size:
        raise Wrong(f"label of {label.dtype}, {label.shape}")
    if label.max() > 20 and set(np.unique(label[label > 20])) != {255}:
        raise Wrong("a class beyond 20")
    if (case.facts["good"] or case.facts["checksum"]) and not np.array_equal(label, _VALUES):
        raise Wrong("other labels, although the file has a checksum")


_POLYGONS: dict[str, Any] = {
    "imgHeight": 20,
    "imgWidth": 30,
    "objects": [
        {"label": "road", "polygon": [[0, 0], [29, 0], [29, 19], [0, 19]]},
        {"label": "car", "polygon": [[5, 5], [10, 5], [10.5, 12]]},
        {"label": "persongroup", "polygon": [[1, 1], [3, 1], [3, 4]], "deleted": 0},
        {"label": "sky", "polygon": [[1, 1], [3, 1], [3, 4]], "deleted": 1},
    ],
}


def _make_polygons(rng: Random) -> Case:
    way, facts = rng.random(), {"good": False}
    text = json.dumps(_POLYGONS).encode()
    if way < 0.05:
        data, note = text, "good"
        facts["good"] = True
    elif way < 0.65:
        value = rng.choice((*ODD, _POLYGONS, "car", [10**6, 10**6], -5, 20.7, 10**5))
        tree, place = replace_node(_POLYGONS, rng, value)
        data, note = json.dumps(tree).encode(), f"{place}: {value!r}"[:200]
    elif way < 0.72:
        depth = rng.choice((100, 1000, 10000, 100000))
        data, note = text[:-1] + b', "x": ' + b"[" * depth + b"]" * depth + b"}", f"depth {depth}"
    else:
        data, note = blind(text, rng)
    return Case({"a_gtFine_polygons.json": data}, ["a_gtFine_polygons.json"], note, facts)


def _check_polygons(case: Case, folder: Path) -> None:
    from gcseg.datasets.converters.cityscapes import polygons_to_train_ids
    from gcseg.utils.errors import GcsegError

    try:
        label = polygons_to_train_ids(folder / "a_gtFine_polygons.json")
    except GcsegError as error:
        if case.facts["good"]:
            raise Wrong(f"refuses a good file: {error}") from error
        raise
    said = json.loads(case.files["a_gtFine_polygons.json"])  # type: ignore[arg-type]
    if label.dtype != np.uint8 or label.shape != (said["imgHeight"], said["imgWidth"]):
        raise Wrong(f"label of {label.dtype}, {label.shape} for {said['imgHeight']!r} x {said['imgWidth']!r}")
    if set(np.unique(label)) - {*range(19), 255}:
        raise Wrong("no train ids")
    if case.facts["good"] and (label[18, 20], label[8, 9], label[2, 2]) != (0, 13, 11):
        raise Wrong("other labels than drawn")


def targets() -> dict[str, Target]:
    """Annotations of SBD and of Cityscapes."""
    return {
        "mat": Target("mat", _make_mat, _check_mat),
        "polygons": Target("polygons", _make_polygons, _check_polygons),
    }
