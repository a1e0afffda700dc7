"""Lists of images, and folders as people leave them."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from formats import GREY, RGB, png
from fuzzing import Case, Files, Target, Wrong
from mutations import blind

_NAMES = ("2007_000032", "2007_000039", "a b", "weiß", "0")
_PIPELINE = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}, {"type": "PackSegInputs"}]
_CLASSES = [f"class {i}" for i in range(8)]
_LIST_CHANGES = (
    *("CRLF", "blank lines", "spaces", "suffix", "pair", "path", "parent", "twice", "unknown", "mark", "encoding"),
    *("comment", "label number", "long", "nul", "no end", "carriage"),
)


@cache
def _image(number: int) -> bytes:
    return png(np.full((4, 6, 3), 10 * number, np.uint8), RGB)


@cache
def _label(number: int) -> bytes:
    return png(np.full((4, 6), number, np.uint8), GREY)


def _pairs(dataset: Any) -> list[tuple[str, int, int]]:
    """Image file, number painted into the image, number painted into the label, of all items."""
    found = []
    for i in range(len(dataset)):
        item = dataset[i]
        sample = item["data_samples"]
        label = np.unique(sample.gt_sem_seg.data.numpy())
        image = np.unique(item["inputs"].numpy())
        if label.size != 1 or image.size != 1:
            raise Wrong(f"an image of {image[:5]} with a label of {label[:5]}")
        found.append((sample.img_path, int(image[0]) // 10, int(label[0])))
    return found


def _make_list(rng: Random) -> Case:
    files: Files = {f"JPEGImages/{name}.jpg": _image(i) for i, name in enumerate(_NAMES)}
    files |= {f"SegmentationClass/{name}.png": _label(i) for i, name in enumerate(_NAMES)}
    lines = list(_NAMES)
    rng.shuffle(lines)
    exact = list(lines)
    end, note, encoding = "\n", "plain", "utf-8"
    for _ in range(rng.choice((0, 1, 1, 2))):
        note = rng.choice(_LIST_CHANGES)
        at = rng.randrange(len(lines))
        if note == "CRLF":
            end = "\r\n"
        elif note == "carriage":
            end = "\r"
        elif note == "no end":
            end = "\n"
            lines[-1] += "\n\n\n"
        elif note == "blank lines":
            lines.insert(at, rng.choice(("", "  ", "\t")))
        elif note == "spaces":
            lines[at] = f"  {lines[at]}\t"
        elif note == "mark":
            lines[0] = "\ufeff" + lines[0]
        elif note == "encoding":
            encoding = rng.choice(("utf-16", "latin-1", "utf-32", "cp1252"))
        else:
            exact = []
            lines[at] = {
                "suffix": f"{lines[at]}.jpg",
                "pair": f"JPEGImages/{lines[at]}.jpg SegmentationClass/{lines[at]}.png",
                "path": f"/data/VOC/JPEGImages/{lines[at]}",
                "parent": f"../../{lines[at]}",
                "twice": f"{lines[at]}\n{lines[at]}",
                "unknown": "2011_999999",
                "comment": "# the validation set",
                "label number": f"{lines[at]} 1",
                "long": "x" * 5000,
                "nul": f"{lines[at][:3]}\0{lines[at][3:]}",
            }[note]
    content = end.join([*lines, ""]).encode(encoding, "replace")
    if rng.random() < 0.25 and not exact:
        content, note = blind(content, rng)
    facts = {"exact": exact if encoding == "utf-8" else []}
    files["list.txt"] = content
    return Case(files, ["list.txt", "JPEGImages"], note, facts)


def _check_list(case: Case, folder: Path) -> None:
    from gcseg.registry import DATASETS

    of = dict(
        type="PascalVOCDataset",
        data_root=str(folder),
        data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClass"),
        ann_file="list.txt",
        pipeline=_PIPELINE,
        _scope_="gcseg",
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = DATASETS.build(of)
    said = [str(warning.message) for warning in caught]
    pairs = _pairs(dataset)
    if any(image != label for _, image, label in pairs):
        raise Wrong("an image has the label of another")
    names = [Path(file).stem for file, _, _ in pairs]
    if case.facts["exact"] and names != case.facts["exact"]:
        raise Wrong(f"the list has {case.facts['exact']} and the data set {names}")
    if len(set(names)) != len(names) and not any("list.txt' names" in text for text in said):
        raise Wrong("an image is there twice, and nothing says so")


def _make_tree(rng: Random) -> Case:
    stems = rng.sample(["a", "b", "c_x", "d-1", "ü", "e.f", "0001", "sub/g", "sub/h"], rng.randint(1, 5))
    image_tail, label_tail = rng.choice((("", ""), ("", "_mask"), ("_rgb", ""), ("_rgb", "_gt"), ("", "")))
    image_end, label_end = rng.choice((".png", ".jpg", ".JPG", ".bmp")), rng.choice((".png", ".PNG"))
    root_images, root_labels = rng.choice((("images/train", "labels/train"), ("train/imgs", "train/masks")))
    images = {f"{root_images}/{stem}{image_tail}{image_end}": _image(i) for i, stem in enumerate(stems)}
    labels = {f"{root_labels}/{stem}{label_tail}{label_end}": _label(i) for i, stem in enumerate(stems)}
    files: Files = {**images, **labels, "classes.txt": "\n".join(_CLASSES).encode()}
    twice: list[tuple[str, str]] = []
    notes, facts = [], {"number": len(stems), "must work": True}
    for _ in range(rng.choice((0, 1, 1, 2))):
        note = rng.choice(_TREE_CHANGES)
        notes.append(note)
        facts["must work"] = False
        image, label = rng.choice(list(images)), rng.choice(list(labels))
        if note == "no image":
            files.pop(image, None)
        elif note == "no label":
            files.pop(label, None)
        elif note == "no labels":
            files = {k: v for k, v in files.items() if not k.startswith(root_labels)}
        elif note == "empty folder":
            files = {k: v for k, v in files.items() if not k.startswith(root_images)} | {root_images: None}
        elif note == "folder called like an image":
            files[f"{root_images}/z{image_end}"] = None
        elif note == "folder called like a label":
            files[label] = None
        elif note == "label twice" and label in files:
            files[str(Path(label).with_suffix(".bmp"))] = _label(7)
            twice.append((str(Path(label).with_suffix(".bmp")), label))
        elif note == "image twice":
            files[str(Path(image).with_suffix(".webp"))] = _image(7)
            twice.append((str(Path(image).with_suffix(".webp")), image))
        elif note == "more files":
            files |= {f"{root_images}/{n}": b"x" for n in (".DS_Store", "Thumbs.db", "readme.txt", f"._a{image_end}")}
        elif note == "link to nowhere":
            files[image] = "nowhere.png"
        elif note == "link to itself":
            files[label] = Path(label).name
        elif note == "linked folder":
            files[f"{root_images}/loop"] = "."
        elif note == "link to a device":
            files[image] = "/dev/zero" if rng.random() < 0.5 else "/dev/null"
        elif note == "empty file":
            files[rng.choice((image, label))] = b""
        elif note == "odd name":
            odd = rng.choice(("\udcff\udcfe", "new\nline", "-rf", "*", "'", '"', "%s{}", "\x1b[31m", " ", "\u202ex"))
            files[f"{root_images}/{odd}{image_tail}{image_end}"] = _image(6)
            if rng.random() < 0.7:
                files[f"{root_labels}/{odd}{label_tail}{label_end}"] = _label(6)
        elif note == "shifted labels":
            files[f"{root_labels}/9{stems[0].replace('/', '_')}{label_tail}{label_end}"] = _label(7)
        elif note == "file for a folder":
            files = {k: v for k, v in files.items() if not k.startswith(root_labels)} | {root_labels: b"x"}
        elif note.startswith("classes"):
            text = "\n".join(_CLASSES).encode()
            files["classes.txt"] = {
                "classes: none": b"",
                "classes: few": b"class 0\n",
                "classes: bytes": rng.randbytes(100),
                "classes: utf-16": text.decode().encode("utf-16"),
                "classes: mark": b"\xef\xbb\xbf# names\n" + text,
                "classes: twice": text.replace(b"class 1", b"class 0"),
                "classes: damaged": blind(text, rng)[0],
                "classes: folder": None,
            }[note]
    for second, first in twice:
        if not isinstance(files.get(first), bytes):
            files.pop(second, None)  # it would be the only one, and right
    names = ["classes", *(Path(name).name for name in files), "images", "imgs", "labels", "masks", root_labels]
    return Case(_without_clashes(files), names, "+".join(notes) or "plain", facts)


_TREE_CHANGES = (
    *("no image", "no label", "no labels", "empty folder", "folder called like an image", "folder called like a label"),
    *("label twice", "image twice", "more files", "link to nowhere", "link to itself", "linked folder"),
    *("link to a device", "empty file", "odd name", "shifted labels", "file for a folder"),
    *("classes: none", "classes: few", "classes: bytes", "classes: utf-16", "classes: mark", "classes: twice"),
    *("classes: damaged", "classes: folder"),
)


def _without_clashes(files: Files) -> Files:
    """Nothing lies below a file or a link."""
    plain = {name for name, content in files.items() if content is not None}
    return {n: c for n, c in files.items() if not any(n.startswith(f"{other}/") for other in plain)}


def _check_tree(case: Case, folder: Path) -> None:
    from gcseg.registry import DATASETS
    from gcseg.utils.errors import GcsegError

    try:
        dataset = DATASETS.build(dict(type="FolderDataset", data_root=str(folder), pipeline=_PIPELINE, _scope_="gcseg"))
        pairs = _pairs(dataset)
    except GcsegError as error:
        if case.facts["must work"]:
            raise Wrong(f"refuses a good folder: {error}") from error
        raise
    if any(image != label for _, image, label in pairs):
        raise Wrong("an image has the label of another")
    if case.facts["must work"] and len(pairs) != case.facts["number"]:
        raise Wrong(f"{len(pairs)} pairs of {case.facts['number']}")
    names = dataset.metainfo["classes"]
    if len(set(names)) != len(names) or any("\ufeff" in name or "\0" in name for name in names):
        raise Wrong(f"class names {names}")


def targets() -> dict[str, Target]:
    """Split lists of VOC, and folders."""
    return {
        "split_list": Target("split_list", _make_list, _check_list),
        "folder_tree": Target("folder_tree", _make_tree, _check_tree),
    }
