"""Composes one demo street: sky, ground, houses, things, light, and the camera's own faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gcseg.datasets import demo_things as things
from gcseg.datasets.demo_surfaces import (
    PAINTS,
    SKIES,
    Dice,
    Floats,
    asphalt,
    blend,
    facade,
    fraction,
    leaves,
    masonry,
    noise,
    slabs,
)
from gcseg.datasets.demo_things import BUILDING, ROAD, SIDEWALK, SKY, VEGETATION, VOID, WALL, Canvas

SUPERSAMPLING = 2


class Street(NamedTuple):
    """Measures of one street in metres; x counts from the camera."""

    left: float  # kerbs
    right: float
    pavements: tuple[float, float]  # widths of the pavements, left and right
    sun: int  # side the sun is on: -1 left, 1 right, 0 overcast
    contrast: float  # brightness in the shade, 0 to 1


class Footprint(NamedTuple):
    """A shadow on the ground: an ellipse in metres."""

    x: float
    z: float
    half_x: float
    half_z: float


def render_street(shape: tuple[int, int], entropy: tuple[int, ...]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one street.

    Args:
        shape: (H, W) of the picture in pixels.
        entropy: whole numbers that name the street; the same numbers give the same pixels everywhere.

    Returns:
        The picture (H, W, 3) uint8 RGB and its labels (H, W) uint8: indices into the demo classes, 255 for unlabelled
        (the bonnet of the camera's car).
    """
    dice = Dice(entropy)
    h, w = shape[0] * SUPERSAMPLING, shape[1] * SUPERSAMPLING
    canvas = Canvas(
        (h, w),
        center=(w * dice.uniform(0.32, 0.68), h * dice.uniform(0.36, 0.54)),
        focal=w * dice.uniform(0.55, 0.72),
        eye=dice.uniform(1.6, 2.7),
    )
    half, offset = dice.uniform(2.8, 4.6), dice.uniform(-2.0, 2.0)
    street = Street(
        left=-half + offset,
        right=half + offset,
        pavements=(dice.uniform(1.6, 4.0), dice.uniform(1.6, 4.0)),
        sun=dice.below(3) - 1,
        contrast=dice.uniform(0.42, 0.8),
    )
    sky = _paint_sky(canvas, dice)
    jobs, shadows = _plan(canvas, street, dice)
    _paint_ground(canvas, street, shadows, dice)
    for _, job in sorted(jobs, key=lambda item: -item[0]):
        job()
    _weather(canvas, sky, dice)
    if dice.chance(0.3):
        _paint_bonnet(canvas, dice)
    return _expose(canvas, dice), np.ascontiguousarray(canvas.label[::SUPERSAMPLING, ::SUPERSAMPLING])


def _paint_sky(canvas: Canvas, dice: Dice) -> Floats:
    """Fill the canvas with sky; returns the colour at the horizon (3,)."""
    zenith, horizon = (np.asarray(c, np.float32) for c in dice.pick(SKIES))
    window = (slice(0, canvas.shape[0]), slice(0, canvas.shape[1]))
    u, v = canvas.rays(window)
    height = np.clip(-v / np.float32(0.7), 0, 1)
    color = blend(np.broadcast_to(horizon, (*u.shape, 3)), zenith, height)
    seed, cover = dice.seed(), dice.uniform(0.35, 0.8)
    lift = 1 / (height + np.float32(0.25))
    cloud = 0.6 * noise(u * lift, lift, seed, 0.9) + 0.4 * noise(u * lift, lift, seed + 1, 0.3)
    color = blend(color, np.full(3, dice.uniform(0.6, 0.9), np.float32), np.clip(3 * (cloud - cover), 0, 0.8))
    canvas.paint(window, np.ones(u.shape, bool), color, SKY, 1e4)
    return horizon


def _paint_ground(canvas: Canvas, street: Street, shadows: list[Footprint], dice: Dice) -> None:
    """Road, pavements and verges below the horizon, with markings and the shadows that fall on them."""
    h, w = canvas.shape
    window = (slice(min(int(canvas.center[1]) + 2, h), h), slice(0, w))
    u, v = canvas.rays(window)
    z = np.float32(canvas.eye) / v
    x = u * z
    shade = np.ones(x.shape, np.float32)
    for spot in shadows:
        shade[things.ellipse(x, z, spot.x, spot.z, spot.half_x, spot.half_z)] = street.contrast
    if street.sun:
        edge = dice.uniform(-0.5, 0.9) * (street.right if street.sun > 0 else street.left)
        ragged = edge + 1.5 * (noise(z, z, dice.seed(), 6.0) - 0.5)
        shade[(x - ragged) * street.sun > 0] = street.contrast
    if dice.chance(0.4):
        dapple = noise(x, z * np.float32(0.6), dice.seed(), 0.7) > dice.uniform(0.55, 0.7)
        shade[dapple] = street.contrast
    everything = np.ones(x.shape, bool)
    canvas.paint(window, everything, leaves(dice, x, z) * shade[..., None], VEGETATION, z)
    paved = (x > street.left - street.pavements[0]) & (x < street.right + street.pavements[1])
    canvas.paint(window, paved, slabs(dice, x, z) * shade[..., None], SIDEWALK, z)
    road = (x > street.left) & (x < street.right)
    color = _markings(street, x, z, asphalt(dice, x, z), dice)
    canvas.paint(window, road, color * shade[..., None], ROAD, z)
    kerb = (abs(x - street.left + 0.08) < 0.08) | (abs(x - street.right - 0.08) < 0.08)
    canvas.paint(window, kerb, np.float32(dice.uniform(0.3, 0.7)) * np.ones_like(color) * shade[..., None], SIDEWALK, z)


def _markings(street: Street, x: Floats, z: Floats, color: Floats, dice: Dice) -> Floats:
    """Lane dashes, edge lines and at times a zebra crossing."""
    chalk = np.asarray(dice.pick(((0.8, 0.8, 0.78), (0.72, 0.70, 0.62), (0.78, 0.66, 0.28))), np.float32)
    middle = (street.left + street.right) / 2
    if dice.chance(0.7):
        color = blend(color, chalk, (abs(x - middle) < 0.09) & (fraction(z, 5.0)[0] < dice.uniform(0.4, 0.7)))
    if dice.chance(0.4):
        color = blend(color, chalk, abs(abs(x - middle) - (street.right - middle - 0.5)) < 0.07)
    if dice.chance(0.3):
        start = dice.uniform(5, 12)
        stripes = (z > start) & (z < start + 3) & (fraction(x, 1.0)[0] < 0.5)
        color = blend(color, chalk * np.float32(0.95), stripes)
    return color


Jobs = list[tuple[float, Callable[[], None]]]


def _plan(canvas: Canvas, street: Street, dice: Dice) -> tuple[Jobs, list[Footprint]]:
    """Decide what stands where: (distance, painter) pairs in any order, and shadows on the ground."""
    jobs: Jobs = []
    shadows: list[Footprint] = []
    for sign, kerb, width in ((-1, street.left, street.pavements[0]), (1, street.right, street.pavements[1])):
        _plan_frontage(canvas, street, dice, sign, kerb + sign * width, jobs)
        _plan_pavement(canvas, dice, sign, kerb, width, jobs, shadows)
        _plan_parking(canvas, dice, kerb - sign * 1.1, jobs, shadows)
    _plan_traffic(canvas, street, dice, jobs, shadows)
    return jobs, shadows


def _plan_frontage(canvas: Canvas, street: Street, dice: Dice, sign: int, line: float, jobs: Jobs) -> None:
    """Houses, garden walls and hedges along one side, from far to near."""
    z = dice.uniform(45, 70)
    shade = street.contrast if street.sun == sign else 1.0
    taste = dice.uniform(0.2, 0.65)
    while z > 1.5:
        near = max(z - dice.uniform(5, 14), 0.8)
        roll = dice.uniform()
        if roll < taste:
            height = dice.uniform(4.5, 16)
            jobs.append((z, _block(canvas, dice, line, sign, near, z, height, BUILDING, shade)))
        elif roll < taste + 0.6 * (1 - taste):
            if dice.chance(0.6):
                back = line + sign * dice.uniform(4, 9)
                jobs.append((z + 5, _block(canvas, dice, back, sign, near, z, dice.uniform(5, 13), BUILDING, shade)))
            for _ in range(dice.below(3)):
                place = (line + sign * dice.uniform(1.5, 4), dice.uniform(near, z))
                jobs.append((z + 2, _thing(things.tree, canvas, dice, *place)))
            jobs.append((z, _block(canvas, dice, line, sign, near, z, dice.uniform(1.1, 3.6), WALL, shade)))
        else:
            jobs.append((z, _block(canvas, dice, line, sign, near, z, dice.uniform(0.8, 3.0), VEGETATION, shade)))
            for _ in range(1 + dice.below(3)):
                place = (line + sign * dice.uniform(0.8, 4), dice.uniform(near, z))
                jobs.append((z + 2, _thing(things.tree, canvas, dice, *place)))
        z = near


def _plan_pavement(
    canvas: Canvas, dice: Dice, sign: int, kerb: float, width: float, jobs: Jobs, shadows: list[Footprint]
) -> None:
    """Posts and trees beside the kerb, people on the pavement."""
    z = dice.uniform(4.5, 8.0)
    while z < 26:
        if dice.chance(0.7):
            x = kerb + sign * dice.uniform(0.25, 0.6)
            green = dice.chance(0.3)
            painter = things.tree if green else things.post
            jobs.append((z, _thing(painter, canvas, dice, x, z)))
            shadows.append(Footprint(x, z, 1.2 if green else 0.3, 0.5))
        z += dice.uniform(3, 8)
    for _ in range(dice.below(5)):
        x, z = kerb + sign * dice.uniform(0.3, max(width - 0.4, 0.5)), dice.uniform(4.5, 15)
        jobs.append((z, _thing(things.person, canvas, dice, x, z)))
        shadows.append(Footprint(x, z, 0.5, 0.25))
    if dice.chance(0.3):
        x, z = kerb + sign * (width - 0.3), dice.uniform(5, 16)
        jobs.append((z, _thing(things.bush, canvas, dice, x, z)))


def _plan_parking(canvas: Canvas, dice: Dice, x: float, jobs: Jobs, shadows: list[Footprint]) -> None:
    """A broken row of parked cars."""
    if dice.chance(0.35):
        return
    z = dice.uniform(3.5, 9)
    while z < 32:
        if dice.chance(0.65):
            jobs.append((z, _thing(things.car, canvas, dice, x, z)))
            shadows.append(Footprint(x, z + 2.2, 1.25, 2.7))
        z += dice.uniform(5.6, 8)


def _plan_traffic(canvas: Canvas, street: Street, dice: Dice, jobs: Jobs, shadows: list[Footprint]) -> None:
    """Moving cars and people who cross the road."""
    for _ in range(dice.below(3)):
        x = dice.uniform(street.left + 2.6, street.right - 2.6) if street.right - street.left > 5.3 else 0.5
        z = dice.uniform(6, 24)
        jobs.append((z, _thing(things.car, canvas, dice, x, z)))
        shadows.append(Footprint(x, z + 2.2, 1.25, 2.7))
    for _ in range(dice.below(3)):
        x, z = dice.uniform(street.left, street.right), dice.uniform(5, 14)
        jobs.append((z, _thing(things.person, canvas, dice, x, z)))
        shadows.append(Footprint(x, z, 0.5, 0.25))


def _thing(painter: Callable[..., None], canvas: Canvas, dice: Dice, x: float, z: float) -> Callable[[], None]:
    """A painter for later, with dice of its own so that the order of painting changes nothing."""
    own = Dice((dice.seed(),))
    return lambda: painter(canvas, own, x, z)


def _block(
    canvas: Canvas, dice: Dice, line: float, sign: int, near: float, far: float, height: float, label: int, shade: float
) -> Callable[[], None]:
    """A painter for a house, wall or hedge: the end that faces the camera, then the side along the road."""
    seed = dice.seed()
    front_shade = dice.uniform(0.7, 1.0)

    def material(s: Floats, y: Floats) -> Floats:
        own = Dice((seed,))
        if label == BUILDING:
            return facade(own, s, y)
        return masonry(own, s, y, height) if label == WALL else leaves(own, s, y)

    def job() -> None:
        deep = {BUILDING: 9.0, WALL: 0.3}.get(label, 1.2)
        window, s, y = canvas.board(line + sign * deep / 2, deep / 2, 0, height, near)
        mask = (abs(s) <= deep / 2) & (y >= 0) & (y <= height)
        if label == VEGETATION:
            mask &= y < height * (0.7 + 0.4 * noise(s, y, seed, 0.4))
        if mask.any():
            canvas.paint(window, mask, material(s, y) * np.float32(front_shade), label, near)
        window, z, y, mask = canvas.side(line, near, far, height)
        if label == VEGETATION:
            mask &= y < height * (0.7 + 0.4 * noise(z, y, seed, 0.4))
        if mask.any():
            canvas.paint(window, mask, material(z, y) * np.float32(shade), label, z)

    return job


def _weather(canvas: Canvas, horizon: Floats, dice: Dice) -> None:
    """Haze that thickens with distance and takes the colour of the horizon."""
    reach = np.float32(dice.uniform(60, 400))
    haze = canvas.depth / (canvas.depth + reach)
    haze[canvas.label == SKY] = 0
    canvas.rgb = blend(canvas.rgb, horizon, haze)


def _paint_bonnet(canvas: Canvas, dice: Dice) -> None:
    """The bonnet of the car that carries the camera: part of the picture, and unlabelled."""
    h, w = canvas.shape
    window = (slice(int(0.85 * h), h), slice(0, w))
    u, v = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(window[0].start, h, dtype=np.float32))
    rise = dice.uniform(0.05, 0.12) * h
    mask = things.ellipse(u, v, 0.5 * w, h, 0.48 * w, rise)
    color = dice.paint(PAINTS) * (0.6 + 0.5 * noise(u, v, dice.seed(), 0.1 * w))[..., None]
    canvas.paint(window, mask, color, VOID, 1.0)


def _expose(canvas: Canvas, dice: Dice) -> NDArray[np.uint8]:
    """Colour of the light, exposure, vignette, pixel binning and sensor noise."""
    cast = np.asarray([dice.uniform(0.86, 1.14) for _ in range(3)], np.float32)
    exposure, dark = np.float32(dice.uniform(0.72, 1.18)), dice.uniform(0.0, 0.3)
    h, w = canvas.shape
    row = np.linspace(-1, 1, h, dtype=np.float32)[:, None]
    col = np.linspace(-1, 1, w, dtype=np.float32)[None]
    rgb = canvas.rgb * (cast * exposure) * (1 - np.float32(dark) * (row * row + col * col) / 2)[..., None]
    rgb = np.clip(rgb, 0, 1)
    s = SUPERSAMPLING
    small: Any = sum((rgb[i::s, j::s] for i in range(s) for j in range(s)), np.float32(0)) / np.float32(s * s)
    small = small + np.float32(dice.uniform(0.008, 0.03)) * dice.grain(small.shape)
    return np.floor(np.clip(small, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
