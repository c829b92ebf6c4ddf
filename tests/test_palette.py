"""Colours of classes can be told apart, all 80 of COCO."""

import cv2
import numpy as np

from libra_tf.drawing.palette import NUM_COLORS, class_color

# CIELAB; 2.3 is just noticeable side by side, so this is seen across a picture.
LEAST = 15.0


def lab(colors):
    rgb = np.array(colors, np.float32)[:, np.newaxis] / 255
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[:, 0]


def test_no_two_classes_look_alike():
    found = lab([class_color(i) for i in range(1, 91)])  # COCO's ids
    distance = np.linalg.norm(found[:, np.newaxis] - found, axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert distance.min() > LEAST
    assert distance[:8, :8].min() > 3 * LEAST  # few classes are far apart


def test_black_text_is_read_on_each_and_none_is_grey():
    found = lab([class_color(i) for i in range(NUM_COLORS)])
    assert found[:, 0].min() > 50
    assert np.hypot(found[:, 1], found[:, 2]).min() > 25


def test_an_id_has_one_colour():
    assert class_color(7) == class_color(np.int64(7)) == class_color(7 + NUM_COLORS)
    assert all(type(v) is int for v in class_color(7))
