"""Draws one picture of the embedded data set: shapes on a restless background.

Everything about a picture follows from its random generator. Lengths are in pixels,
positions float; a shape is a polygon whose extent is its box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

CLASS_NAMES = ("rectangle", "ellipse", "triangle")
ELLIPSE_CORNERS = 40  # A multiple of four, so that the box is exact.
OVERSAMPLING = 8
MIN_CONTRAST = 90.0
MAX_TRIES = 25

Polygon = np.ndarray  # float64 [corners, 2], x and y


@dataclass(frozen=True)
class Difficulty:
    """How crowded a picture is; sides are fractions of the picture's side.

    `max_cover` bounds how much of the smaller of two boxes the other may cover.
    """

    max_objects: int
    sides: tuple[float, float]
    max_iou: float
    max_cover: float
    distractors: tuple[int, int]
    stars: bool


DIFFICULTIES = {
    "easy": Difficulty(8, (12 / 128, 64 / 128), 0.1, 0.2, (0, 3), stars=False),
    "hard": Difficulty(14, (8 / 128, 96 / 128), 0.2, 0.4, (3, 8), stars=True),
    "sparse": Difficulty(4, (8 / 128, 96 / 128), 0.2, 0.4, (8, 16), stars=True),
}


@dataclass(frozen=True)
class Shape:
    """A labelled shape; `class_id` counts from 1 in the order of `CLASS_NAMES`."""

    class_id: int
    polygon: Polygon

    @property
    def box(self) -> np.ndarray:
        """xmin, ymin, xmax, ymax."""
        return np.concatenate([self.polygon.min(0), self.polygon.max(0)])

    @property
    def area(self) -> float:
        """Area of the polygon."""
        x, y = self.polygon.T
        return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)


def draw_picture(
    rng: np.random.Generator, size: int, difficulty: Difficulty
) -> tuple[Image.Image, list[Shape]]:
    """Returns a picture of `size` x `size` and its shapes, the lowest first."""
    canvas = _background(rng, size)
    for _ in range(rng.integers(*difficulty.distractors, endpoint=True)):
        _paint(canvas, _distractor(rng, size, difficulty.stars), rng)
    shapes = _place_shapes(rng, size, difficulty)
    for shape in shapes:
        _paint(canvas, shape.polygon, rng)
    canvas += rng.normal(0.0, rng.uniform(3.0, 9.0), canvas.shape)
    return Image.fromarray(canvas.clip(0, 255).astype(np.uint8)), shapes


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A gradient between four corner colours plus soft blotches; float [h, w, 3]."""
    corners = rng.uniform(40, 215, (2, 2, 3))
    t = np.linspace(0.0, 1.0, size)[:, None, None]
    left, right = (corners[0, i] * (1 - t) + corners[1, i] * t for i in (0, 1))
    s = np.linspace(0.0, 1.0, size)[None, :, None]
    blotches = rng.normal(0.0, rng.uniform(5.0, 20.0), (8, 8, 3))
    smooth = [
        np.asarray(
            Image.fromarray(blotches[..., channel].astype(np.float32)).resize(
                (size, size), Image.Resampling.BICUBIC
            )
        )
        for channel in range(3)
    ]
    return left * (1 - s) + right * s + np.stack(smooth, axis=-1)


def _place_shapes(
    rng: np.random.Generator, size: int, difficulty: Difficulty
) -> list[Shape]:
    shapes: list[Shape] = []
    for _ in range(rng.integers(1, difficulty.max_objects, endpoint=True)):
        for _ in range(MAX_TRIES):
            shape = _random_shape(rng, size, difficulty.sides)
            if all(_apart(shape.box, other.box, difficulty) for other in shapes):
                shapes.append(shape)
                break
    return shapes


def _random_shape(
    rng: np.random.Generator, size: int, sides: tuple[float, float]
) -> Shape:
    low, high = sides[0] * size, sides[1] * size
    side = math.exp(rng.uniform(math.log(low), math.log(high)))
    stretch = 2 ** rng.uniform(-0.5, 0.5)
    extent = np.clip([side * stretch, side / stretch], low, high)
    corner = rng.uniform(0, size - extent)
    class_id = int(rng.integers(1, len(CLASS_NAMES), endpoint=True))
    unit = (_unit_rectangle, _unit_ellipse, _unit_triangle)[class_id - 1](rng)
    return Shape(class_id, np.round(corner + unit * extent, 2).clip(0, size))


def _unit_rectangle(rng: np.random.Generator) -> Polygon:
    return np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float)


def _unit_ellipse(rng: np.random.Generator) -> Polygon:
    angles = np.arange(ELLIPSE_CORNERS) * (2 * math.pi / ELLIPSE_CORNERS)
    return 0.5 + 0.5 * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _unit_triangle(rng: np.random.Generator) -> Polygon:
    """A base along one side of the unit square, the tip somewhere opposite."""
    points = np.array([(0, 1), (1, 1), (rng.uniform(0.2, 0.8), 0)])
    for _ in range(rng.integers(4)):
        points = np.stack([1 - points[:, 1], points[:, 0]], axis=-1)
    return points


def _apart(a: np.ndarray, b: np.ndarray, difficulty: Difficulty) -> bool:
    overlap = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    shared = overlap.prod()
    areas = (a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod()
    iou = shared / (sum(areas) - shared)
    return iou <= difficulty.max_iou and shared / min(areas) <= difficulty.max_cover


def _distractor(rng: np.random.Generator, size: int, stars: bool) -> Polygon:
    """A thin line, a star of four points or, with `stars`, of five."""
    kind = rng.integers(3 if stars else 2)
    if kind == 0:
        start, end = rng.uniform(0, size, (2, 2))
        along = (end - start) / max(np.hypot(*(end - start)), 1.0)
        across = np.array([-along[1], along[0]]) * rng.uniform(0.5, 1.0)
        return np.stack([start - across, end - across, end + across, start + across])
    radius = size * rng.uniform(0.05, 0.12)
    if kind == 1:
        spokes = np.array([1.0, 0.25, 0.25] * 4)
        angles = np.repeat(np.arange(4) * 90.0, 3) + np.tile([0.0, 30.0, 60.0], 4)
    else:
        spokes = np.array([1.0, 0.38] * 5)
        angles = np.arange(10) * 36.0
    angles = np.deg2rad(angles + rng.uniform(0, 90))
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    return rng.uniform(0, size, 2) + radius * spokes[:, None] * unit


def _paint(canvas: np.ndarray, polygon: Polygon, rng: np.random.Generator) -> None:
    """Fills the polygon, with soft edges, in a colour unlike what is under it."""
    size = canvas.shape[0]
    left, top = np.floor(polygon.min(0)).clip(0, size - 1).astype(int)
    right, bottom = np.ceil(polygon.max(0)).clip(1, size).astype(int)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    patch = canvas[top:bottom, left:right]
    cover = Image.new("L", tuple(OVERSAMPLING * n for n in patch.shape[1::-1]))
    # Pillow fills pixels whose centres lie at whole numbers.
    points = (polygon - (left, top)) * OVERSAMPLING - 0.5
    ImageDraw.Draw(cover).polygon([tuple(point) for point in points], fill=255)
    cover = cover.resize(patch.shape[1::-1], Image.Resampling.BOX)
    alpha = np.asarray(cover, np.float64)[..., None] / 255
    shade = rng.uniform(-25, 25) * np.linspace(-1, 1, patch.shape[0])[:, None, None]
    colour = _colour_unlike(patch.mean((0, 1)), rng) + shade
    patch += alpha * (colour - patch)


def _colour_unlike(other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    for _ in range(MAX_TRIES):
        colour = rng.uniform(10, 245, 3)
        if np.linalg.norm(colour - other) >= MIN_CONTRAST:
            break
    return colour
