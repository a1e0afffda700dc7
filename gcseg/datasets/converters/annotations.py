"""LabelMe files, COCO files and colour-coded label images to a folder that ``FolderDataset`` reads."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from gcseg.datasets._files import contents
from gcseg.datasets.converters._folder import IGNORED, Annotated, write_folder
from gcseg.datasets.folder import IMAGE_SUFFIXES, LABEL_SUFFIXES
from gcseg.utils.errors import ConfigError, DataError
from gcseg.utils.names import unknown_name_message
from gcseg.utils.progress import announced

_SHAPES = ("polygon", "rectangle", "circle")


def convert_labelme(
    folder: str | os.PathLike,
    out: str | os.PathLike,
    classes: Sequence[str] | None = None,
    background: str | None = None,
    **options: Any,
) -> dict[str, int]:
    """LabelMe: a JSON file beside each image, with polygons, rectangles and circles; later ones over earlier ones.

    Args:
        folder: with the JSON files, at any depth.
        out: see :func:`~gcseg.datasets.converters._folder.write_folder`.
        classes: names in the order of their labels; by default those found, in alphabetical order. What is labelled
            otherwise is an error.
        background: name of a class 0 of all that is not drawn; None: that is unlabelled.
        **options: of :func:`~gcseg.datasets.converters._folder.write_folder`.

    Returns:
        Number of images in each split.

    Raises:
        DataError: no annotations, or damaged ones; names them.
    """
    files = sorted(Path(folder).rglob("*.json"))
    if not files:
        raise DataError(f"no LabelMe file (.json) below {str(folder)!r}; it {contents(str(folder))}")
    found = {file: _labelme(file) for file in files}
    labels = {shape["label"] for annotation in found.values() for shape in annotation["shapes"]}
    names, values = _numbered(classes or sorted(labels - {background}), background)
    items = [
        Annotated(
            file.parent / annotation["imagePath"].replace("\\", "/"), partial(_draw_labelme, file, values, background)
        )
        for file, annotation in found.items()
    ]
    _demand_images(items, str(folder))
    return write_folder(items, names, out, **options)


def convert_coco(
    annotations: str | os.PathLike,
    images: str | os.PathLike,
    out: str | os.PathLike,
    background: str | None = None,
    **options: Any,
) -> dict[str, int]:
    """COCO instances: one JSON file with the polygons or masks of all images; small things over large ones.

    Args:
        annotations: the JSON file.
        images: folder of the images, below which the names in the file stand.
        out: see :func:`~gcseg.datasets.converters._folder.write_folder`.
        background: name of a class 0 of all that is not drawn; None: that is unlabelled.
        **options: of :func:`~gcseg.datasets.converters._folder.write_folder`.

    Returns:
        Number of images in each split.

    Raises:
        DataError: the file is damaged or no such file, or an image is missing; names them.
        ConfigError: run-length masks, and pycocotools is not installed.
    """
    try:
        with announced(f"reading {annotations}"):  # of COCO, half a gigabyte
            content = json.loads(Path(annotations).read_text(encoding="utf-8"))
        categories = sorted(content["categories"], key=lambda category: category["id"])
        names, values = _numbered([category["name"] for category in categories], background)
        of_category = {category["id"]: values[category["name"]] for category in categories}
        things: dict[Any, list] = {image["id"]: [] for image in content["images"]}
        for thing in content["annotations"]:
            size = thing.get("area") or 0
            things[thing["image_id"]].append((-size, thing["segmentation"], of_category[thing["category_id"]]))
        items = [
            Annotated(
                Path(images) / image["file_name"],
                partial(_draw_coco, image, sorted(things[image["id"]], key=lambda thing: thing[0]), background),
            )
            for image in content["images"]
        ]
    except OSError as error:
        raise DataError(f"{str(annotations)!r} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{str(annotations)!r} is no COCO file of instances, or is damaged ({type(error).__name__}: {error})"
        ) from error
    if any(isinstance(segmentation, dict) for of_image in things.values() for _, segmentation, _ in of_image):
        _mask_decoder()
    _demand_images(items, str(images))
    return write_folder(items, names, out, **options)


def convert_colours(
    images: str | os.PathLike,
    labels: str | os.PathLike,
    out: str | os.PathLike,
    colours: Mapping[str, Sequence[int]],
    unlabelled: Sequence[Sequence[int]] = (),
    **options: Any,
) -> dict[str, int]:
    """Label images that show classes by colours, in RGB or with a palette, to class indices.

    Args:
        images: folder of the images.
        labels: folder of the label images, with the names of their images.
        out: see :func:`~gcseg.datasets.converters._folder.write_folder`.
        colours: (R, G, B) of each class, in the order of their labels.
        unlabelled: colours that mean "unlabelled".
        **options: of :func:`~gcseg.datasets.converters._folder.write_folder`.

    Returns:
        Number of images in each split.

    Raises:
        DataError: a label image is missing or damaged, or has a colour that is no class; names it.
        ConfigError: two classes of one colour, or a colour that is none.
    """
    table: dict[int, int] = {}
    entries = [(name, colour, value) for value, (name, colour) in enumerate(colours.items())]
    for name, colour, value in [*entries, *(("unlabelled", colour, IGNORED) for colour in unlabelled)]:
        if len(colour) != 3 or not all(isinstance(c, int) and 0 <= c <= 255 for c in colour):
            raise ConfigError(f"colour of {name}: received {colour!r}, expected three numbers from 0 to 255")
        if table.setdefault(_packed(np.array(colour)).item(), value) != value:
            raise ConfigError(f"colour of {name}: {tuple(colour)} is that of another class")
    masks = {f.stem: f for f in sorted(Path(labels).rglob("*")) if f.suffix in LABEL_SUFFIXES}
    files = [f for f in sorted(Path(images).rglob("*")) if f.suffix in IMAGE_SUFFIXES]
    missing = [file for file in files if file.stem not in masks]
    if missing or not files:
        what = (
            f"{len(missing)} of {len(files)} images have no label image, such as {str(missing[0])!r}"
            if missing
            else (f"no images below {str(images)!r}; it {contents(str(images))}")
        )
        raise DataError(f"{what}. Labels are looked for below {str(labels)!r}, under the names of their images")
    items = [Annotated(file, partial(_read_colours, masks[file.stem], table)) for file in files]
    return write_folder(items, list(colours), out, **options)


def read_colours(file: str | os.PathLike) -> dict[str, tuple[int, ...]]:
    """Read a text file of classes, one a line: ``NAME R G B``. Lines that begin with # are comments.

    Raises:
        ConfigError: a line that is none; names it.
    """
    colours: dict[str, tuple[int, ...]] = {}
    for number, line in enumerate(Path(file).read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not words or line.lstrip().startswith("#"):
            continue
        if len(words) < 4 or not all(word.isdecimal() for word in words[-3:]):
            raise ConfigError(
                f"{file}, line {number}: received {line!r}, expected `NAME R G B`, such as `road 128 64 128`"
            )
        colours[" ".join(words[:-3])] = tuple(map(int, words[-3:]))
    return colours


def _numbered(classes: Sequence[str], background: str | None) -> tuple[list[str], dict[str, int]]:
    """Class names in order, and the label of each; the background, if there is one, is 0."""
    names = list(classes) if background is None else [background, *(c for c in classes if c != background)]
    if len(set(names)) < len(names):
        raise ConfigError(f"classes: a name stands twice in {', '.join(names)}")
    return names, {name: value for value, name in enumerate(names)}


def _demand_images(items: Sequence[Annotated], where: str) -> None:
    missing = [item.image for item in items if not item.image.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(items)} annotated images are not there, such as {str(missing[0])!r}; put them in "
            f"their places below {where!r}"
        )


def _labelme(file: Path) -> dict:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        for key, kind in (("shapes", list), ("imagePath", str), ("imageWidth", int), ("imageHeight", int)):
            if not isinstance(content[key], kind):
                raise TypeError(f"{key} is {content[key]!r}")
        for shape in content["shapes"]:
            if not isinstance(shape["label"], str):
                raise TypeError(f"label is {shape['label']!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{str(file)!r} is no LabelMe file, or is damaged ({type(error).__name__}: {error})") from error
    return content


def _canvas(width: int, height: int, background: str | None) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("L", (width, height), IGNORED if background is None else 0)
    return image, ImageDraw.Draw(image)


def _draw_labelme(file: Path, values: Mapping[str, int], background: str | None) -> np.ndarray:
    annotation = _labelme(file)
    image, brush = _canvas(annotation["imageWidth"], annotation["imageHeight"], background)
    for shape in annotation["shapes"]:
        name, kind = shape["label"], shape.get("shape_type") or "polygon"
        if name not in values:
            raise DataError(f"{str(file)!r}: {unknown_name_message('class', name, values)}")
        if kind not in _SHAPES:
            raise DataError(
                f"{str(file)!r}: {name} is drawn as a {kind}, which has no area; allowed: {', '.join(_SHAPES)}"
            )
        try:
            points = [(float(x), float(y)) for x, y in shape["points"]]
            if kind == "circle":
                (x, y), edge = points
                radius = float(np.hypot(edge[0] - x, edge[1] - y))
                brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=values[name])
            elif kind == "rectangle":
                (x0, y0), (x1, y1) = points
                brush.rectangle((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), fill=values[name])
            else:
                brush.polygon(points, fill=values[name])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{str(file)!r}: the points of {name} cannot be drawn as a {kind} ({error})") from error
    return np.array(image)


def _draw_coco(image: Mapping[str, Any], things: Sequence[tuple], background: str | None) -> np.ndarray:
    name, width, height = image["file_name"], int(image["width"]), int(image["height"])
    canvas, brush = _canvas(width, height, background)
    for _, segmentation, value in things:
        try:
            if isinstance(segmentation, dict):
                mask = _mask_decoder()(segmentation, height, width)
                canvas.paste(value, mask=Image.fromarray(mask * np.uint8(255)))
            else:
                for numbers in segmentation:
                    brush.polygon(list(zip(numbers[::2], numbers[1::2], strict=True)), fill=value)
        except (TypeError, ValueError) as error:
            raise DataError(f"{name}: an annotation cannot be drawn ({type(error).__name__}: {error})") from error
    return np.array(canvas)


def _mask_decoder() -> Callable[[dict, int, int], np.ndarray]:
    try:
        from pycocotools import mask
    except ImportError:
        raise ConfigError(
            "the file has masks as run lengths, which are read by the package pycocotools: pip install pycocotools"
        ) from None

    def decode(segmentation: dict, height: int, width: int) -> np.ndarray:
        if isinstance(segmentation["counts"], list):
            segmentation = mask.frPyObjects(segmentation, height, width)
        return mask.decode(segmentation)

    return decode


def _packed(colours: np.ndarray) -> np.ndarray:
    """(..., 3) of 0 to 255 to one number each."""
    wide = colours.astype(np.int64)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _read_colours(file: Path, table: Mapping[int, int]) -> np.ndarray:
    try:
        with Image.open(file) as image:
            packed = _packed(np.array(image.convert("RGB")))
    except Exception as error:  # whatever Pillow runs into
        raise DataError(f"{str(file)!r} cannot be read ({error})") from error
    found, inverse = np.unique(packed, return_inverse=True)
    unknown = [c for c in found.tolist() if c not in table]
    if unknown:
        shown = ", ".join(str((c >> 16, c >> 8 & 255, c & 255)) for c in unknown[:4])
        raise DataError(
            f"{str(file)!r} has {len(unknown)} {'colours that are' if unknown[1:] else 'colour that is'} no class: "
            f"{shown}. Give it a class, or name it as unlabelled; many colours mean that the file was saved as JPEG or "
            "resized with smoothing"
        )
    return np.array([table[c] for c in found.tolist()], np.uint8)[inverse].reshape(packed.shape)
