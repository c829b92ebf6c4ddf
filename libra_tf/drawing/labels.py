"""Labels beside boxes, where they cover neither each other nor, if possible, a box."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from libra_tf.drawing.palette import Color

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw as Draw
    from PIL.ImageFont import FreeTypeFont, ImageFont

# Of text, in pixels; on large pictures it grows with their short side.
SIZE, PADDING, SIDE_PER_SIZE = 11, 1, 44
_GAP = 2  # pixels between the box and its label: its line stands there

Rectangle = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Label:
    """A text that belongs to a box.

    Attributes:
        text: one line.
        box: left, top, right, bottom, in pixels of the picture.
        color: of its background; the text is black.
    """

    text: str
    box: Rectangle
    color: Color


def write_labels(
    picture: np.ndarray, labels: Sequence[Label], gap: int = _GAP
) -> np.ndarray:
    """Returns the picture with the labels; the first has the first choice of place.

    Args:
        picture: uint8 [H, W, 3].
        labels: in the order in which they choose.
        gap: pixels that stay free between a box and its label.
    """
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=max(SIZE, min(image.size) // SIDE_PER_SIZE))
    taken: list[Rectangle] = []
    for label in labels:
        size = _size(draw.textbbox((0, 0), label.text, font=font))
        place = choose_place(label.box, size, image.size, taken, gap)
        taken.append(place)
        draw.rectangle(place, fill=label.color)
        _write(draw, place, label.text, font)
    return np.array(image)


def choose_place(
    box: Rectangle,
    size: tuple[float, float],
    picture: tuple[int, int],
    taken: Sequence[Rectangle],
    gap: int = _GAP,
) -> Rectangle:
    """Returns where a label stands: beside its box, as free as can be.

    Args:
        box: that it belongs to.
        size: its width and height.
        picture: width and height, which it stays within.
        taken: by labels that were placed before.
        gap: pixels that stay free between box and label.

    Returns:
        The first place, in the order of `_places`, that covers no other label; else
        the one that covers least.
    """
    places = [_inside(place, picture) for place in _places(box, size, gap)]
    covered = [sum(_shared(place, other) for other in taken) for place in places]
    return places[int(np.argmin(covered))]


def _places(box: Rectangle, size: tuple[float, float], gap: int) -> Iterator[Rectangle]:
    """Above, below, beside, and last within the box."""
    left, top, right, bottom = box
    width, height = size
    for y in (top - gap - height, bottom + gap):
        for x in (left, right - width, (left + right - width) / 2):
            yield x, y, x + width, y + height
    for x in (right + gap, left - gap - width):
        for y in (top, bottom - height, (top + bottom - height) / 2):
            yield x, y, x + width, y + height
    yield left, top, left + width, top + height
    yield right - width, bottom - height, right, bottom


def _inside(place: Rectangle, picture: tuple[int, int]) -> Rectangle:
    left, top, right, bottom = place
    width, height = right - left, bottom - top
    left = max(0, min(left, picture[0] - 1 - width))
    top = max(0, min(top, picture[1] - 1 - height))
    return left, top, left + width, top + height


def _shared(one: Rectangle, other: Rectangle) -> float:
    """Area that two rectangles share, in square pixels."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def _size(extent: Rectangle) -> tuple[float, float]:
    _, _, right, bottom = extent
    return right + 2 * PADDING, bottom + 2 * PADDING


def _write(
    draw: Draw, place: Rectangle, text: str, font: FreeTypeFont | ImageFont
) -> None:
    draw.text((place[0] + PADDING, place[1] + PADDING), text, fill="black", font=font)
