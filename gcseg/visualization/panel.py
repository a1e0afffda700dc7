"""A picture for people: photograph, ground truth and prediction side by side, over a legend of the classes in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gcseg.visualization.paint import check_image, check_map, load_font, overlay

_GAP = 6
_UNLABELLED = "unlabelled"


def paint_panel(
    image: np.ndarray,
    ground_truth: Any = None,
    prediction: Any = None,
    *,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    alpha: float = 0.8,
    titles: Sequence[str] = ("photograph", "ground truth", "prediction"),
    max_width: int = 4096,
) -> np.ndarray:
    """Paint what is given side by side, with titles above and a legend below.

    Args:
        image: photograph, (H, W, 3) uint8 RGB.
        ground_truth: (H, W) or (1, H, W) class indices, or None.
        prediction: the same, or None.
        classes: names of the classes.
        palette: RGB of each class.
        alpha: share of the colour over the photograph, 0 to 1.
        titles: words above the photograph, the ground truth and the prediction.
        max_width: the tiles are made smaller when all of them together would be wider than this many pixels.

    Returns:
        (H', W', 3) uint8 RGB. The legend names only classes that occur in one of the maps, in the order of ``classes``.

    Raises:
        DataError: a shape is wrong.
    """
    from PIL import Image, ImageDraw

    image = check_image(image)
    maps = [None if m is None else check_map(m, image) for m in (ground_truth, prediction)]
    tiles = [(titles[0], image)]
    tiles += [(t, overlay(image, m, palette, alpha)) for t, m in zip(titles[1:], maps, strict=True) if m is not None]

    height, width = image.shape[:2]
    scale = min(1.0, (max_width - _GAP * (len(tiles) - 1)) / (width * len(tiles)))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    font_size = int(np.clip(size[1] // 22, 11, 28))
    font = load_font(font_size)
    total = size[0] * len(tiles) + _GAP * (len(tiles) - 1)
    rows = _legend_rows(_legend_entries(maps, classes, palette), total, font, font_size)

    line = font_size + 8
    sheet = Image.new("RGB", (total, line + size[1] + (line * len(rows) + _GAP if rows else 0)), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for i, (title, tile) in enumerate(tiles):
        left = i * (size[0] + _GAP)
        picture = Image.fromarray(tile)
        sheet.paste(picture if scale == 1 else picture.resize(size, Image.Resampling.BILINEAR), (left, line))
        draw.text((left + 2, 3), title, fill=(0, 0, 0), font=font)
    top = line + size[1] + _GAP
    for row in rows:
        for left, name, colour in row:
            box = (left, top + 3, left + font_size, top + 3 + font_size)
            draw.rectangle(box, fill=colour, outline=(0, 0, 0))
            draw.text((left + font_size + 4, top + 2), name, fill=(0, 0, 0), font=font)
        top += line
    return np.asarray(sheet)


def _legend_entries(
    maps: Sequence[np.ndarray | None], classes: Sequence[str], palette: Sequence[Sequence[int]]
) -> list[tuple[str, tuple[int, ...]]]:
    present = sorted({int(v) for m in maps if m is not None for v in np.unique(m)})
    entries = [(str(classes[v]), tuple(int(c) for c in palette[v])) for v in present if 0 <= v < len(classes)]
    if any(not 0 <= v < len(classes) for v in present):
        entries.append((_UNLABELLED, (0, 0, 0)))
    return entries


def _legend_rows(
    entries: Sequence[tuple[str, tuple[int, ...]]], width: int, font: Any, font_size: int
) -> list[list[tuple[int, str, tuple[int, ...]]]]:
    """Break the legend into rows of at most ``width`` pixels: (left edge, name, colour) for each entry."""
    rows: list[list[tuple[int, str, tuple[int, ...]]]] = []
    left = width
    for name, colour in entries:
        needed = font_size + 4 + int(font.getlength(name)) + 14
        if left + needed > width:
            rows.append([])
            left = 2
        rows[-1].append((left, name, colour))
        left += needed
    return rows
