"""A picture for people: a photograph, and what positions of it attend to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from gcseg.utils.errors import DataError
from gcseg.visualization.paint import check_image, load_font

_GAP = 8
_MARK = (40, 230, 90)


@dataclass(frozen=True)
class AttentionTile:
    """One map of the picture.

    Attributes:
        title: words above it.
        weights: (h, w), not negative; how much each position is attended to.
        query: (y, x), the position that attends; None where the map belongs to all of them.
    """

    title: str
    weights: np.ndarray
    query: tuple[int, int] | None = None


def heat(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Lay a map over a photograph: dark to yellow is 0 to the map's own maximum, over the photograph in grey.

    Args:
        image: (H, W, 3) uint8 RGB.
        weights: (h, w), not negative; resized bilinearly.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: a shape is wrong, or a weight is negative or not finite.
    """
    image = check_image(image)
    weights = np.asarray(weights, dtype=np.float32)
    if weights.ndim != 2 or not np.isfinite(weights).all() or weights.min(initial=0) < 0:
        raise DataError(f"an attention map to paint is (h, w), finite and not negative; received {weights.shape}")
    share = cv2.resize(weights / (weights.max() or 1), image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap(np.uint8(255 * share.clip(0, 1)), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None]
    return (0.4 * grey + 0.6 * colours).astype(np.uint8)


def paint_attention(
    image: np.ndarray, tiles: Sequence[AttentionTile], *, columns: int = 4, tile_width: int = 320
) -> np.ndarray:
    """Paint a photograph with its marked queries, and the maps, in rows of tiles with titles.

    Beside a title stands the map's maximum, as a multiple of the weight that every position would have if all had the
    same.

    Args:
        image: photograph, (H, W, 3) uint8 RGB.
        tiles: the maps. Those with a query are numbered, here and on the photograph.
        columns: tiles in a row.
        tile_width: width of a tile in pixels.

    Returns:
        (H', W', 3) uint8 RGB.

    Raises:
        DataError: a shape is wrong, a weight is negative, or a query is outside its map.
    """
    from PIL import Image, ImageDraw

    image = check_image(image)
    size = (tile_width, max(1, round(image.shape[0] * tile_width / image.shape[1])))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    font_size = int(np.clip(tile_width // 22, 9, 28))
    font = load_font(font_size)
    line = font_size + 8
    columns = min(columns, len(tiles) + 1)
    rows = -(-(len(tiles) + 1) // columns)
    shape = (columns * (size[0] + _GAP) - _GAP, rows * (line + size[1] + _GAP) - _GAP)
    sheet = Image.new("RGB", shape, (255, 255, 255))
    draw = ImageDraw.Draw(sheet)

    def place(index: int) -> tuple[int, int]:
        row, column = divmod(index, columns)
        return column * (size[0] + _GAP), row * (line + size[1] + _GAP) + line

    def mark(index: int, tile: AttentionTile, number: int) -> None:
        (y, x), (h, w), (left, top) = tile.query or (0, 0), tile.weights.shape, place(index)
        if not (0 <= y < h and 0 <= x < w):
            raise DataError(f"query {(y, x)} is outside its map of {h} x {w} positions (height x width)")
        centre = (left + (x + 0.5) * size[0] / w, top + (y + 0.5) * size[1] / h)
        radius = font_size * 0.7
        box = (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)
        draw.ellipse(box, fill=_MARK, outline=(0, 0, 0))
        x0, y0, x1, y1 = draw.textbbox((0, 0), str(number), font=font)
        draw.text((centre[0] - (x0 + x1) / 2, centre[1] - (y0 + y1) / 2), str(number), fill=(0, 0, 0), font=font)

    left, top = place(0)
    sheet.paste(Image.fromarray(small), (left, top))
    draw.text((left + 2, top - line + 3), "photograph", fill=(0, 0, 0), font=font)
    number = 0
    for index, tile in enumerate(tiles, 1):
        left, top = place(index)
        sheet.paste(Image.fromarray(heat(small, tile.weights)), (left, top))
        peak = f"peak {tile.weights.max() / max(tile.weights.mean(), 1e-30):.1f}x"
        draw.text((left + 2, top - line + 3), tile.title, fill=(0, 0, 0), font=font)
        end = left + size[0] - 2 - draw.textlength(peak, font=font)
        draw.text((end, top - line + 3), peak, fill=(90, 90, 90), font=font)
        if tile.query is not None:
            number += 1
            mark(0, tile, number)
            mark(index, tile, number)
    return np.asarray(sheet)
