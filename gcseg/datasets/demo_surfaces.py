"""Random numbers, noise and materials of the rendered demo streets.

Everything here is built from additions, multiplications, comparisons and integer hashing, never from ``sin`` or ``exp``
and never from a generator whose stream may change between releases: a picture therefore has the same pixels on every
machine and with every NumPy.

Colours are float32 RGB, 0 (black) to 1 (white). Materials take coordinates in metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
T = TypeVar("T")

# One list of paints for buildings, walls, cars and clothes: none of the four can be told by its colour.
PAINTS: tuple[tuple[float, float, float], ...] = (
    (0.30, 0.30, 0.31), (0.45, 0.45, 0.46), (0.62, 0.61, 0.60), (0.82, 0.82, 0.81), (0.14, 0.14, 0.15),
    (0.55, 0.31, 0.25), (0.44, 0.24, 0.20), (0.76, 0.68, 0.54), (0.64, 0.54, 0.41), (0.42, 0.47, 0.55),
    (0.58, 0.68, 0.78), (0.22, 0.30, 0.45), (0.38, 0.43, 0.28), (0.27, 0.40, 0.24), (0.41, 0.32, 0.23),
    (0.74, 0.47, 0.24), (0.80, 0.71, 0.36), (0.60, 0.17, 0.15),
)  # fmt: skip
# Road and pavement share theirs, too.
PAVING: tuple[tuple[float, float, float], ...] = (
    (0.27, 0.27, 0.29), (0.36, 0.36, 0.37), (0.44, 0.44, 0.44), (0.53, 0.52, 0.50), (0.60, 0.59, 0.58),
    (0.48, 0.43, 0.38), (0.40, 0.42, 0.46), (0.50, 0.40, 0.36),
)  # fmt: skip
LEAVES: tuple[tuple[float, float, float], ...] = (
    (0.26, 0.40, 0.18), (0.34, 0.46, 0.22), (0.20, 0.30, 0.17), (0.42, 0.44, 0.24), (0.60, 0.50, 0.22),
    (0.58, 0.36, 0.20), (0.42, 0.30, 0.22), (0.36, 0.36, 0.32),
)  # fmt: skip
# (zenith, horizon)
SKIES: tuple[tuple[tuple[float, float, float], tuple[float, float, float]], ...] = (
    ((0.30, 0.48, 0.76), (0.70, 0.80, 0.90)), ((0.44, 0.56, 0.72), (0.74, 0.77, 0.80)),
    ((0.50, 0.52, 0.55), (0.66, 0.67, 0.68)), ((0.74, 0.75, 0.76), (0.86, 0.86, 0.85)),
    ((0.40, 0.42, 0.54), (0.86, 0.64, 0.44)), ((0.34, 0.36, 0.40), (0.52, 0.52, 0.52)),
)  # fmt: skip


class Dice:
    """Random draws from the raw stream of PCG64, which NumPy guarantees never to change.

    Args:
        entropy: whole numbers that name the stream, such as (version, split, index).
    """

    def __init__(self, entropy: Sequence[int]) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(list(entropy)))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """One number in [low, high)."""
        return low + (high - low) * ((int(self._bits.random_raw()) >> 11) * 2.0**-53)

    def below(self, n: int) -> int:
        """One whole number in [0, n)."""
        return min(int(self.uniform(0, n)), n - 1)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.uniform() < probability

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, all equally likely."""
        return items[self.below(len(items))]

    def seed(self) -> int:
        """A seed for :func:`hash01` and :func:`noise`."""
        return self.below(1 << 31)

    def paint(self, paints: Sequence[tuple[float, float, float]], spread: float = 0.06) -> Floats:
        """One of the paints, lighter or darker and a little off in hue: (3,)."""
        base = np.asarray(self.pick(paints))
        shift = self.uniform(-1.5 * spread, 1.5 * spread)
        tint = np.asarray([self.uniform(-spread, spread) for _ in range(3)])
        return np.clip(base + shift + 0.6 * tint, 0.04, 0.96).astype(np.float32)

    def grain(self, shape: tuple[int, ...]) -> Floats:
        """Sensor noise of mean 0 and variance 1 (sum of three uniforms)."""
        raw = np.asarray(self._bits.random_raw(int(np.prod(shape))), dtype=np.uint64)
        parts = [((raw >> np.uint64(k)) & np.uint64(0xFFFFF)).astype(np.float32) for k in (0, 20, 40)]
        return ((parts[0] + parts[1] + parts[2]) * np.float32(2.0**-19) - np.float32(3.0)).reshape(shape)


def hash01(i: NDArray, j: NDArray, seed: int) -> Floats:
    """A number in [0, 1) for every pair of whole numbers: scrambled, but a function of its arguments."""
    h = i.astype(np.int32).view(np.uint32) * np.uint32(0x9E3779B1)
    h = h ^ (j.astype(np.int32).view(np.uint32) * np.uint32(0x85EBCA77)) ^ np.uint32(seed)
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    h = (h ^ (h >> np.uint32(12))) * np.uint32(0x297A2D39)
    h = h ^ (h >> np.uint32(15))
    return (h >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def noise(x: Floats, y: Floats, seed: int, cell: float = 1.0) -> Floats:
    """Smooth value noise in [0, 1) with bumps of about ``cell`` (units of ``x`` and ``y``)."""
    x, y = x / np.float32(cell), y / np.float32(cell)
    i, j = np.floor(x), np.floor(y)
    a, b = x - i, y - j
    a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
    i, j = i.astype(np.int32), j.astype(np.int32)
    top = hash01(i, j, seed) * (1 - a) + hash01(i + 1, j, seed) * a
    low = hash01(i, j + 1, seed) * (1 - a) + hash01(i + 1, j + 1, seed) * a
    return (top * (1 - b) + low * b).astype(np.float32, copy=False)


def fraction(x: Floats, period: float) -> tuple[Floats, Floats]:
    """Position within a repeating cell, 0 to 1, and the number of the cell (as float)."""
    t = x / np.float32(period)
    whole = np.floor(t)
    return t - whole, whole


def blend(below: Floats, above: Floats, where: NDArray) -> Floats:
    """``above`` where ``where`` is 1, ``below`` where it is 0; ``where`` (H, W), colours (H, W, 3) or (3,)."""
    if where.dtype == np.bool_:
        mixed = np.array(np.broadcast_to(below, (*where.shape, 3)), dtype=np.float32)
        np.copyto(mixed, above, where=where[..., None])
        return mixed
    w = where.astype(np.float32)[..., None]
    return below * (1 - w) + above * w


def facade(dice: Dice, s: Floats, y: Floats) -> Floats:
    """A house front: (H, W, 3) from position along the front ``s`` and height ``y``, both in metres."""
    wall, frame = dice.paint(PAINTS), dice.paint(PAINTS)
    seed, storey, bay = dice.seed(), dice.uniform(2.8, 3.6), dice.uniform(1.8, 3.4)
    wide, tall = dice.uniform(0.35, 0.7), dice.uniform(0.4, 0.65)
    glass = np.asarray(dice.pick([sky[1] for sky in SKIES]), dtype=np.float32) * np.float32(dice.uniform(0.3, 0.9))
    color = wall * (0.86 + 0.28 * noise(s, y, seed, 1.3))[..., None]
    if dice.chance(0.5):
        course, row = fraction(y, 0.32)
        brick, _ = fraction(s + 0.35 * row, 0.7)
        color = blend(color, wall * np.float32(0.72), (course < 0.18) | (brick < 0.1))
    a, column = fraction(s, bay)
    b, floor = fraction(y - np.float32(0.3), storey)
    inside = (abs(a - 0.5) < wide / 2) & (abs(b - 0.52) < tall / 2)
    border = (abs(a - 0.5) < wide / 2 + 0.05) & (abs(b - 0.52) < tall / 2 + 0.05)
    color = blend(color, frame, border)
    light = 0.45 + 0.75 * hash01(column, floor, seed)
    panes = glass * light[..., None] * (0.8 + 0.4 * b)[..., None]
    color = blend(color, panes, inside & (abs(a - 0.5) > 0.02))
    if dice.chance(0.4):
        shop = dice.paint(PAINTS)
        color = blend(color, shop * (0.7 + 0.5 * noise(s, y, seed + 1, 0.9))[..., None], y < 0.9 * storey)
        color = blend(color, glass * np.float32(0.6), (y < 0.7 * storey) & (y > 0.5) & (fraction(s, 2.6)[0] < 0.75))
    if dice.chance(0.5):
        color = blend(color, frame * np.float32(0.8), b < 0.06)
    return color


def masonry(dice: Dice, s: Floats, y: Floats, height: float) -> Floats:
    """A garden wall of the given height in metres: blocks, stains and a coping; no windows."""
    wall, seed = dice.paint(PAINTS + PAVING), dice.seed()
    course, row = fraction(y, dice.uniform(0.35, 0.6))
    block, column = fraction(s + 0.5 * row, dice.uniform(0.8, 1.6))
    shade = 0.8 + 0.2 * hash01(column, row, seed) + 0.2 * noise(s, y, seed, 1.1)
    color = blend(wall * shade[..., None], wall * np.float32(0.6), (course < 0.12) | (block < 0.06))
    return blend(color, np.clip(wall * np.float32(1.25), 0, 1), y > height - 0.18)


def leaves(dice: Dice, s: Floats, y: Floats) -> Floats:
    """Foliage: clumps at two scales, lighter towards the top of each clump."""
    leaf, seed = dice.paint(LEAVES, 0.04), dice.seed()
    clump, fine = noise(s, y, seed, 0.55), noise(s, y, seed + 1, 0.16)
    lift = noise(s, y - np.float32(0.15), seed, 0.55) - clump
    return leaf * (0.35 + 0.55 * clump + 0.6 * fine - 0.5 * lift)[..., None]


def asphalt(dice: Dice, x: Floats, z: Floats) -> Floats:
    """The carriageway: fine grain, long patches, cracks filled with tar."""
    tone, seed = dice.paint(PAVING, 0.05), dice.seed()
    shade = 0.82 + 0.2 * noise(x, z, seed, 0.12) + 0.18 * noise(x, z * np.float32(0.25), seed + 1, 1.7)
    if dice.chance(0.3):
        patch = noise(x, z * np.float32(0.3), seed + 2, 2.5) > 0.68
        shade = shade * (1 - 0.25 * patch)
    return tone * shade[..., None]


def slabs(dice: Dice, x: Floats, z: Floats) -> Floats:
    """The pavement: slabs with joints, every slab a little different."""
    tone, seed, size = dice.paint(PAVING, 0.05), dice.seed(), dice.uniform(0.5, 1.1)
    a, i = fraction(x, size)
    b, j = fraction(z, size * dice.uniform(1.0, 1.8))
    shade = 0.84 + 0.22 * hash01(i, j, seed) + 0.12 * noise(x, z, seed, 0.2)
    return blend(tone * shade[..., None], tone * np.float32(0.66), (a < 0.09) | (b < 0.07))
