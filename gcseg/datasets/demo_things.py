"""What stands in a demo street: trees, posts, people and cars, each drawn on a canvas with its label.

``x`` is metres to the right of the camera, ``y`` metres above the ground, ``z`` metres ahead. RGB float32, 0 to 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gcseg.datasets.demo_surfaces import LEAVES, PAINTS, PAVING, Dice, Floats, blend, leaves, noise

Window = tuple[slice, slice]
Mask = NDArray[np.bool_]

ROAD, SIDEWALK, BUILDING, WALL, POLE, VEGETATION, SKY, PERSON, CAR = range(9)
VOID = 255


class Canvas:
    """A picture being painted back to front: colour, label and distance of every pixel.

    Args:
        shape: (H, W) in pixels.
        center: (x, y) in pixels where the road vanishes.
        focal: pixels per metre at a distance of one metre.
        eye: height of the camera in metres.
    """

    def __init__(self, shape: tuple[int, int], center: tuple[float, float], focal: float, eye: float) -> None:
        self.shape, self.center, self.focal, self.eye = shape, center, focal, eye
        self.rgb = np.zeros((*shape, 3), np.float32)
        self.label = np.full(shape, VOID, np.uint8)
        self.depth = np.full(shape, 1e4, np.float32)

    def window(self, left: float, right: float, low: float, high: float, z: float) -> Window:
        """The pixels between two ``x`` and two ``y`` at distance ``z``, cut at the edges (may be empty)."""
        per_metre, (h, w) = self.focal / z, self.shape
        cols = [min(max(int(self.center[0] + x * per_metre + d), 0), w) for x, d in ((left, -1), (right, 2))]
        rows = [min(max(int(self.center[1] + (self.eye - y) * per_metre + d), 0), h) for y, d in ((high, -1), (low, 2))]
        return slice(rows[0], rows[1]), slice(cols[0], cols[1])

    def rays(self, window: Window) -> tuple[Floats, Floats]:
        """Slope to the right and downwards of the line of sight through every pixel of a window: two (h, w)."""
        rows = (np.arange(window[0].start, window[0].stop, dtype=np.float32) + 0.5 - self.center[1]) / self.focal
        cols = (np.arange(window[1].start, window[1].stop, dtype=np.float32) + 0.5 - self.center[0]) / self.focal
        u, v = np.meshgrid(cols.astype(np.float32), rows.astype(np.float32))
        return u, v

    def board(self, x: float, half: float, low: float, high: float, z: float) -> tuple[Window, Floats, Floats]:
        """An upright board facing the camera: its window, and x (from its middle) and y of every pixel in metres."""
        window = self.window(x - half, x + half, low, high, z)
        u, v = self.rays(window)
        return window, u * np.float32(z) - np.float32(x), np.float32(self.eye) - v * np.float32(z)

    def side(self, x: float, near: float, far: float, height: float) -> tuple[Window, Floats, Floats, Mask]:
        """An upright plane along the road at ``x``: window, z and y of every pixel, and which pixels it covers."""
        ends = [self.window(min(x, 0) if x < 0 else x, x, 0, height, z) for z in (near, far)]
        rows = [b for e in ends for b in (e[0].start, e[0].stop)]
        cols = [self.center[0] + x * self.focal / z for z in (near, far)]
        w = self.shape[1]
        window = (slice(min(rows), max(rows)), slice(max(int(min(cols)) - 1, 0), min(max(int(max(cols)) + 2, 0), w)))
        if window[1].stop < window[1].start:
            window = (window[0], slice(window[1].start, window[1].start))
        u, v = self.rays(window)
        u = np.where(abs(u) < 1e-6, np.float32(1e-6), u)
        z = np.float32(x) / u
        y = np.float32(self.eye) - v * z
        return window, z, y, (z >= near) & (z < far) & (y >= 0) & (y <= height)

    def paint(self, window: Window, mask: Mask, color: Floats, label: int, depth: Floats | float) -> None:
        """Lay colour, label and distance over the masked pixels of a window."""
        if not mask.any():
            return
        self.rgb[window][mask] = color[mask] if color.ndim == 3 else color
        self.label[window][mask] = label
        self.depth[window][mask] = depth[mask] if isinstance(depth, np.ndarray) else depth


def ellipse(x: Floats, y: Floats, cx: float, cy: float, rx: float, ry: float) -> Mask:
    """Pixels inside an ellipse."""
    a, b = (x - np.float32(cx)) / np.float32(rx), (y - np.float32(cy)) / np.float32(ry)
    return a * a + b * b < 1


def limb(x: Floats, y: Floats, start: tuple[float, float], stop: tuple[float, float], r0: float, r1: float) -> Mask:
    """Pixels inside a straight limb from ``start`` to ``stop`` whose radius goes from ``r0`` to ``r1``."""
    dx, dy = stop[0] - start[0], stop[1] - start[1]
    t = ((x - np.float32(start[0])) * np.float32(dx) + (y - np.float32(start[1])) * np.float32(dy)) / np.float32(
        dx * dx + dy * dy
    )
    t = np.clip(t, 0, 1)
    a, b = x - np.float32(start[0]) - t * np.float32(dx), y - np.float32(start[1]) - t * np.float32(dy)
    r = np.float32(r0) + t * np.float32(r1 - r0)
    return a * a + b * b < r * r


def tree(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
    """A trunk and a ragged crown."""
    top, half = dice.uniform(3.2, 6.5), dice.uniform(1.1, 2.2)
    middle, seed = top - dice.uniform(0.9, 1.3) * half, dice.seed()
    window, s, y = canvas.board(x, 1.3 * half, 0, top + 1, z)
    bark = dice.paint(LEAVES[5:], 0.05)
    trunk = limb(s, y, (0, 0), (dice.uniform(-0.2, 0.2), middle), 0.17, 0.1)
    canvas.paint(
        window, trunk, bark * (0.55 + 0.5 * noise(s, y * np.float32(0.2), seed, 0.1))[..., None], VEGETATION, z
    )
    a, b = s / np.float32(half), (y - np.float32(middle)) / np.float32(top - middle + 0.3)
    ragged = 0.65 * noise(s, y, seed, 0.6) + 0.3 * noise(s, y, seed + 1, 0.2)
    canvas.paint(window, a * a + b * b < 1.25 - ragged, leaves(dice, s, y), VEGETATION, z)


def bush(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
    """A low mound of leaves."""
    half, top, seed = dice.uniform(0.6, 1.3), dice.uniform(0.8, 1.8), dice.seed()
    window, s, y = canvas.board(x, 1.2 * half, 0, 1.2 * top, z)
    a, b = s / np.float32(half), y / np.float32(top)
    mask = (a * a + b * b < 1.2 - 0.5 * noise(s, y, seed, 0.3)) & (y >= 0)
    canvas.paint(window, mask, leaves(dice, s, y), VEGETATION, z)


def post(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
    """A lamp post or a bare pole; some carry an arm over the road."""
    top, radius = dice.uniform(3.0, 7.0), dice.uniform(0.10, 0.17)
    window, s, y = canvas.board(x, 1.8, 0, top + 0.3, z)
    mask = (abs(s) < radius) & (y >= 0) & (y < top)
    mask |= (abs(s) < 1.7 * radius) & (y >= 0) & (y < 0.5)
    if dice.chance(0.5):
        reach = dice.uniform(0.7, 1.5) * (-1 if x > 0 else 1)
        mask |= limb(s, y, (0, top - 0.1), (reach, top + 0.1), 0.1, 0.1)
        mask |= ellipse(s, y, reach, top + 0.05, 0.32, 0.16)
    elif dice.chance(0.5):
        mask |= ellipse(s, y, 0, top, 0.28, 0.28)
    paint = dice.paint(PAINTS[:5] + PAVING + PAINTS[12:15])
    round_ = 0.75 + 0.5 * np.clip(s / np.float32(2 * radius) + np.float32(0.5), 0, 1)
    canvas.paint(window, mask, paint * round_[..., None], POLE, z)


def person(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
    """A pedestrian: legs apart or together, arms, torso, head."""
    size = dice.uniform(1.5, 1.95)
    window, s, y = canvas.board(x, 0.6, 0, size + 0.1, z)
    s, y = s / np.float32(size), y / np.float32(size)
    shirt, trousers = dice.paint(PAINTS), dice.paint(PAINTS)
    skin, hair = dice.paint(((0.80, 0.62, 0.50), (0.52, 0.36, 0.27), (0.34, 0.24, 0.19))), dice.paint(PAINTS[:8])
    step, swing = dice.uniform(0.02, 0.13), dice.uniform(-0.12, 0.12)
    seed = dice.seed()
    folds = (0.75 + 0.5 * noise(s, y, seed, 0.06))[..., None]
    legs = limb(s, y, (0.04, 0.47), (step, 0.03), 0.07, 0.045) | limb(s, y, (-0.04, 0.47), (-step, 0.03), 0.07, 0.045)
    if dice.chance(0.3):
        legs |= (abs(s) < 0.16 - 0.12 * (y - 0.2)) & (y > 0.2) & (y < 0.5)
    arms = limb(s, y, (0.12, 0.76), (0.15 + swing, 0.45), 0.045, 0.035)
    arms |= limb(s, y, (-0.12, 0.76), (-0.15 + swing, 0.45), 0.045, 0.035)
    torso = (abs(s) < 0.105 + 0.05 * np.clip((y - 0.45) / np.float32(0.35), 0, 1)) & (y > 0.44) & (y < 0.82)
    canvas.paint(window, legs, trousers * folds, PERSON, z)
    canvas.paint(window, torso | arms, shirt * folds, PERSON, z)
    canvas.paint(window, ellipse(s, y, 0, 0.91, 0.062, 0.085), skin * np.ones_like(folds), PERSON, z)
    canvas.paint(window, ellipse(s, y, 0, 0.945, 0.066, 0.062), hair * folds, PERSON, z)


def car(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
    """A car seen from one end, with the side that faces the camera."""
    paint, half = dice.paint(PAINTS), dice.uniform(0.82, 0.98)
    length, roof, belt = dice.uniform(3.6, 4.8), dice.uniform(1.35, 1.95), dice.uniform(0.8, 0.95)
    glass = np.float32(dice.uniform(0.12, 0.4)) * np.asarray((0.9, 1.0, 1.1), np.float32)
    face = x - half if x > half else x + half if x < -half else None
    if face is not None:
        _car_side(canvas, face, z, length, roof, belt, paint, glass)
    window, s, y = canvas.board(x, half + 0.05, 0, roof + 0.05, z)
    slant = np.clip((y - np.float32(belt)) / np.float32(roof - belt), 0, 1)
    hull = (abs(s) < half) & (y > 0.22) & (y <= belt)
    cabin = (abs(s) < half - 0.08 - 0.16 * slant) & (y > belt) & (y < roof)
    tyres = (abs(abs(s) - (half - 0.14)) < 0.12) & (y >= 0) & (y < 0.4)
    shade = (0.75 + 0.3 * np.clip(y / np.float32(roof), 0, 1))[..., None]
    color = paint * shade
    color = blend(
        color, glass * (0.7 + 0.9 * slant)[..., None], cabin & (y < roof - 0.1) & (abs(s) < half - 0.2 - 0.16 * slant)
    )
    lights = (abs(abs(s) - (half - 0.18)) < 0.14) & (y > belt - 0.3) & (y < belt - 0.12)
    lamp = np.asarray(((0.85, 0.15, 0.12), (0.95, 0.93, 0.80))[dice.below(2)], np.float32)
    color = blend(color, lamp, lights)
    color = blend(color, np.full(3, 0.8, np.float32), (abs(s) < 0.26) & (y > 0.42) & (y < 0.55))
    color = blend(color, paint * np.float32(0.45), (y < 0.36))
    canvas.paint(window, tyres, np.full(3, 0.08, np.float32), CAR, z)
    canvas.paint(window, hull | cabin, color, CAR, z)


def _car_side(
    canvas: Canvas, face: float, z: float, length: float, roof: float, belt: float, paint: Floats, glass: Floats
) -> None:
    """The flank of a car, from its near end ``z`` to ``z + length``."""
    window, along, y, mask = canvas.side(face, z, z + length, roof)
    t = (along - np.float32(z)) / np.float32(length)
    slant = np.clip((y - np.float32(belt)) / np.float32(roof - belt), 0, 1)
    hull = mask & (y > 0.22) & (y <= belt)
    cabin = mask & (y > belt) & (t > 0.1 + 0.08 * slant) & (t < 0.78 - 0.16 * slant)
    color = paint * (0.55 + 0.3 * np.clip(y / np.float32(roof), 0, 1))[..., None]
    panes = cabin & (y < roof - 0.12) & (t > 0.16 + 0.08 * slant) & (t < 0.72 - 0.16 * slant) & (abs(t - 0.43) > 0.02)
    color = blend(color, glass * (0.6 + 0.8 * slant)[..., None], panes)
    canvas.paint(window, hull | cabin, color, CAR, along)
    for hub in (0.18, 0.8):
        wheel = ellipse(along, y, z + hub * length, 0.33, 0.33, 0.33)
        rim = ellipse(along, y, z + hub * length, 0.33, 0.18, 0.18)
        tone = blend(np.full((*y.shape, 3), 0.07, np.float32), np.full(3, 0.5, np.float32), rim)
        canvas.paint(window, wheel & (y >= 0), tone, CAR, along)
