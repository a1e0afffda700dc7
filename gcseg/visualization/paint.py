"""Colours and names on photographs. Images are (H, W, 3) uint8 RGB, maps (H, W) integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from gcseg.utils.errors import ConfigError, DataError


def generate_palette(num_classes: int) -> list[list[int]]:
    """Distinct colours for classes that have none: Pascal VOC's scheme, the bits of the index spread over R, G and B.

    Args:
        num_classes: how many; up to 256 colours differ.

    Returns:
        RGB, 0 to 255; index 0 is black.
    """
    palette = []
    for index in range(num_classes):
        colour, rest = [0, 0, 0], index
        for bit in range(7, -1, -1):
            for channel in range(3):
                colour[channel] |= ((rest >> channel) & 1) << bit
            rest >>= 3
        palette.append(colour)
    return palette


def check_image(image: np.ndarray) -> np.ndarray:
    """Give back ``image`` if it is (H, W, 3), as uint8.

    Raises:
        DataError: it has another shape.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"a picture to paint on is (H, W, 3) RGB, received shape {image.shape}")
    return image.astype(np.uint8, copy=False)


def check_map(labels: Any, image: np.ndarray) -> np.ndarray:
    """Give back a map as (H, W) array, from an array or tensor of shape (H, W) or (1, H, W).

    Raises:
        DataError: it is not one map of the size of ``image``.
    """
    if hasattr(labels, "detach"):
        labels = labels.detach().cpu().numpy()
    labels = np.asarray(labels)
    if labels.ndim == 3 and labels.shape[0] == 1:
        labels = labels[0]
    if labels.shape != image.shape[:2]:
        raise DataError(
            f"the map has shape {labels.shape}, the picture {image.shape[:2]} (H, W); pass the picture at the size at "
            "which the map was made"
        )
    return labels


def colour_map(labels: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """The colour of each pixel's class, (H, W, 3) uint8; black where there is no such class (unlabelled pixels)."""
    table: np.ndarray = np.zeros((len(palette) + 1, 3), dtype=np.uint8)
    table[:-1] = np.asarray(palette, dtype=np.uint8)
    return table[np.where((labels >= 0) & (labels < len(palette)), labels, len(palette))]


def overlay(image: np.ndarray, labels: Any, palette: Sequence[Sequence[int]], alpha: float = 0.8) -> np.ndarray:
    """Lay the colours of the classes over a photograph.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) or (1, H, W) class indices, array or tensor; what is no class (255) is painted black.
        palette: RGB of each class.
        alpha: share of the colour in the result, 0 to 1.

    Returns:
        (H, W, 3) uint8 RGB, ``image * (1 - alpha) + colour * alpha`` rounded down.

    Raises:
        ConfigError: ``alpha`` is out of range.
        DataError: a shape is wrong.
    """
    if not 0 <= alpha <= 1:
        raise ConfigError(f"opacity={alpha}: the share of the colour is from 0 to 1")
    image = check_image(image)
    colours = colour_map(check_map(labels, image), palette)
    return (image * (1 - alpha) + colours * alpha).astype(np.uint8)


def label_regions(
    image: np.ndarray, labels: Any, classes: Sequence[str], palette: Sequence[Sequence[int]]
) -> np.ndarray:
    """Write each class's name into its largest region, at the point farthest from the region's edge.

    Args:
        image: (H, W, 3) uint8 RGB, usually from :func:`overlay`.
        labels: (H, W) or (1, H, W) class indices.
        classes: names.
        palette: RGB of each class, the ground of its name.

    Returns:
        A new (H, W, 3) uint8 RGB.

    Raises:
        DataError: a shape is wrong.
    """
    from PIL import Image, ImageDraw

    image = check_image(image)
    labels = check_map(labels, image)
    height, width = labels.shape
    canvas = Image.fromarray(image.copy())
    draw = ImageDraw.Draw(canvas)
    font = load_font(max(9, min(height, width) // 28))
    for index in np.unique(labels):
        if not 0 <= index < len(classes):
            continue
        x, y = inner_point(labels == index)
        left, top, right, bottom = draw.textbbox((0, 0), classes[index], font=font)
        pad = 2
        w, h = right - left + 2 * pad, bottom - top + 2 * pad
        x0, y0 = int(np.clip(x - w // 2, 0, max(0, width - w))), int(np.clip(y - h // 2, 0, max(0, height - h)))
        colour = tuple(int(c) for c in palette[index])
        draw.rectangle((x0, y0, x0 + w - 1, y0 + h - 1), fill=colour, outline=(0, 0, 0))
        draw.text((x0 + pad - left, y0 + pad - top), classes[index], fill=ink_for(colour), font=font)
    return np.asarray(canvas)


def ink_for(ground: Sequence[int]) -> tuple[int, int, int]:
    """Black or white, whichever reads better on the colour ``ground`` (relative luminance of ITU-R BT.601)."""
    r, g, b = ground
    return (0, 0, 0) if 0.299 * r + 0.587 * g + 0.114 * b > 140 else (255, 255, 255)


def load_font(size: int) -> Any:
    """Pillow's own font, about ``size`` pixels high; its small bitmap font where Pillow lacks FreeType."""
    from PIL import ImageFont

    try:
        return ImageFont.load_default(size)
    except (TypeError, ImportError, OSError):
        return ImageFont.load_default()


def inner_point(mask: np.ndarray) -> tuple[int, int]:
    """(x, y) of the pixel of the mask's largest connected region that is farthest from the region's edge."""
    _, regions, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    region = np.pad((regions == largest).astype(np.uint8), 1)  # the edge of the picture is an edge of the region
    distance = cv2.distanceTransform(region, cv2.DIST_L2, 3)
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    return int(x) - 1, int(y) - 1
