"""Frames around boxes that leave the edge free which they are judged by."""

from __future__ import annotations

import math

import numpy as np

from libra_tf.drawing.palette import Color
from libra_tf.errors import UserError

# A line of two pixels; of three on pictures of 960 pixels.
_THINNEST, _SIDE_PER_PIXEL = 2, 320
_HALO: Color = (0, 0, 0)
_DASH = 5  # pixels of a dash, and of the dark between two
# Beyond, the frames are the picture.
MAX_WIDTH = 20


def line_width(picture: np.ndarray) -> int:
    """Returns the width in pixels that fits a picture [H, W, 3]."""
    return max(_THINNEST, min(picture.shape[:2]) // _SIDE_PER_PIXEL)


def check_width(width: int) -> int:
    """Returns the width.

    Raises:
        UserError: it is not from 1 to 20.
    """
    if not 1 <= width <= MAX_WIDTH:
        raise UserError(f"--line-width is {width}; give 1 to {MAX_WIDTH} pixels")
    return width


def draw_frame(
    picture: np.ndarray, box: np.ndarray, color: Color, width: int, dashed: bool = False
) -> None:
    """Draws a line around a box, on the pixels next to it outside, into `picture`.

    A dark line of one pixel around it makes it visible on any ground. At the border of
    the picture the line lies within the box.

    Args:
        picture: uint8 [H, W, 3], changed.
        box: [4], `yxyx`, pixels of `picture`.
        color: of the line.
        width: of the line, pixels.
        dashed: draw dashes, and between them the dark line only.
    """
    height, length = picture.shape[:2]
    room = width + 1
    top = min(max(math.floor(box[0]), room), height - room)
    left = min(max(math.floor(box[1]), room), length - room)
    bottom = max(min(math.ceil(box[2]), height - room), top)
    right = max(min(math.ceil(box[3]), length - room), left)
    if dashed:
        _ring(picture, top, left, bottom, right, width, _HALO, False)
    else:
        outer = (top - width, left - width, bottom + width, right + width)
        _ring(picture, *outer, 1, _HALO, False)
    _ring(picture, top, left, bottom, right, width, color, dashed)


def _ring(
    picture: np.ndarray,
    top: int,
    left: int,
    bottom: int,
    right: int,
    width: int,
    color: Color,
    dashed: bool,
) -> None:
    """Paints the `width` pixels outside of a rectangle; ends are exclusive."""
    rows = slice(max(top - width, 0), bottom + width)
    columns = slice(max(left - width, 0), right + width)
    for part in (
        (slice(rows.start, top), columns),
        (slice(bottom, rows.stop), columns),
        (slice(top, bottom), slice(columns.start, left)),
        (slice(top, bottom), slice(right, columns.stop)),
    ):
        view = picture[part]
        if not dashed:
            view[...] = color
            continue
        y, x = np.mgrid[: view.shape[0], : view.shape[1]]
        on = ((y + part[0].start + x + part[1].start) // _DASH) % 2 == 0
        view[on] = color
