"""What a checkpoint says of itself, whoever wrote it, brought to one form."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

from gcseg.utils.errors import CheckpointError
from gcseg.utils.signatures import shortened

_RANDOM = "random"  # what mmsegmentation 0.x writes for a palette of no meaning


def normalise_meta(meta: Any, name: str) -> dict[str, Any]:
    """The ``meta`` of a checkpoint without ``config``, and with ``dataset_meta`` in the form of mmengine.

    Args:
        meta: a mapping, or None.
        name: of the checkpoint, for errors.

    Returns:
        A new dictionary. ``dataset_meta``, where anything is known, has its keys in lower case, and what
        mmsegmentation 0.x wrote into ``CLASSES`` and ``PALETTE``.

    Raises:
        CheckpointError: ``meta``, the classes, the palette or the seed are of another kind than anybody writes.
    """
    if meta is not None and not isinstance(meta, Mapping):
        raise CheckpointError(f"{name}: its `meta` is {shortened(meta)} where a dictionary is expected")
    found = dict(meta or {})
    found.pop("config", None)
    of_data = found.get("dataset_meta")
    if of_data is not None and not isinstance(of_data, Mapping):
        raise CheckpointError(
            f"{name}: its meta['dataset_meta'] is {shortened(of_data)} where a dictionary is expected"
        )
    of_data = {str(key).lower(): value for key, value in (of_data or {}).items()}
    for old in ("CLASSES", "PALETTE"):
        if found.get(old) is not None:
            of_data.setdefault(old.lower(), found[old])
    if not _is_classes(of_data.get("classes")):
        raise CheckpointError(
            f"{name}: its classes are {shortened(of_data['classes'])} where a list of names is expected"
        )
    if not _is_palette(of_data.get("palette")):
        raise CheckpointError(
            f"{name}: its palette is {shortened(of_data['palette'])} where a list of colours is expected, each of "
            "three whole numbers from 0 to 255"
        )
    if not isinstance(found.get("seed"), Integral | None):
        raise CheckpointError(f"{name}: its meta['seed'] is {shortened(found['seed'])} and no whole number")
    if of_data:
        found["dataset_meta"] = of_data
    return found


def _is_classes(classes: Any) -> bool:
    return classes is None or (isinstance(classes, list | tuple) and all(isinstance(c, str) for c in classes))


def _is_palette(palette: Any) -> bool:
    if palette is None or (isinstance(palette, str) and palette == _RANDOM):
        return True
    colours = palette.tolist() if hasattr(palette, "tolist") else palette
    return isinstance(colours, list | tuple) and all(_is_colour(colour) for colour in colours)


def _is_colour(colour: Any) -> bool:
    values = colour.tolist() if hasattr(colour, "tolist") else colour
    return (
        isinstance(values, list | tuple)
        and len(values) == 3
        and all(isinstance(v, int | float) and 0 <= v <= 255 and v == int(v) for v in values)
    )
