"""A frame leaves free the edge by which a box is judged."""

import numpy as np
import pytest

from libra_tf.drawing.frames import check_width, draw_frame, line_width
from libra_tf.errors import UserError

COLOR = (10, 200, 30)
BOX = np.array([20.0, 30.0, 60.0, 90.0])


def framed(box=BOX, width=2, dashed=False):
    picture = np.full((100, 120, 3), 120, np.uint8)
    draw_frame(picture, box, COLOR, width, dashed)
    return picture


def colored(picture):
    return (picture == COLOR).all(-1)


@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("dashed", [False, True])
def test_nothing_within_the_box_is_painted(width, dashed):
    picture = framed(width=width, dashed=dashed)
    assert (picture[20:60, 30:90] == 120).all()
    ring = np.zeros((100, 120), bool)
    ring[20 - width : 60 + width, 30 - width : 90 + width] = True
    ring[20:60, 30:90] = False
    on = colored(picture)
    assert not on[~ring].any()
    assert on[ring].all() == (not dashed)
    assert on[ring].mean() > 0.3


def test_a_dark_line_lies_around_it():
    picture = framed(width=2)
    assert (picture[17, 27:93] == 0).all()
    assert (picture[16] == 120).all()


def test_between_dashes_it_is_dark():
    picture = framed(width=2, dashed=True)
    ring = picture[18:20, 28:92]
    assert {tuple(p) for p in ring.reshape(-1, 3)} == {COLOR, (0, 0, 0)}


@pytest.mark.parametrize(
    "box", [[-50, -50, 500, 500], [0, 0, 100, 120], [-9, -9, -5, -5], [40, 40, 40, 40]]
)
def test_a_frame_stays_in_the_picture(box):
    on = colored(framed(np.array(box, float)))
    assert on.any(axis=0).sum() >= 4
    assert on.any(axis=1).sum() >= 4


def test_a_line_is_thin_and_grows_with_the_picture():
    assert line_width(np.zeros((480, 640, 3))) == 2
    assert line_width(np.zeros((1600, 2000, 3))) == 5
    assert check_width(1) == 1
    for width in (0, -3, 21):
        with pytest.raises(UserError, match=rf"--line-width is {width}; give 1 to 20"):
            check_width(width)
