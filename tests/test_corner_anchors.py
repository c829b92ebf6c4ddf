"""Anchors on the corners of the cells, in the reference's order."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tolerances import ELEMENTWISE, NETWORK, assert_close

from libra_tf.experiments.reference_config import RetinaNetAnchor, RPNAnchor
from libra_tf.ops.corner_anchors import base_anchors, corner_anchors

RPN = {"num_scales": 1, "aspect_ratios": [2.0, 1.0, 0.5], "anchor_size": 8.0}
DENSE = {"num_scales": 3, "aspect_ratios": [2.0, 1.0, 0.5], "anchor_size": 4.0}


def test_by_hand():
    """Stride 4, scale 8, height over width 0.5, 1, 2 (mmdetection's `gen_anchors`)."""
    expected = [
        [-11.3137, -22.6274, 11.3137, 22.6274],
        [-16, -16, 16, 16],
        [-22.6274, -11.3137, 22.6274, 11.3137],
    ]
    assert_close(base_anchors(32, 1, [2.0, 1.0, 0.5]), expected, of=NETWORK, scale=1.0)


def test_all_scales_of_a_ratio_come_first():
    base = base_anchors(32, 3, [2.0, 1.0, 0.5])
    heights, widths = base[:, 2] - base[:, 0], base[:, 3] - base[:, 1]
    assert_close(widths / heights, np.repeat([2, 1, 0.5], 3), of=ELEMENTWISE)
    areas = np.tile([2 ** (k / 3) for k in range(3)], 3)
    assert_close(np.sqrt(heights * widths), 32 * areas, of=ELEMENTWISE)


@pytest.mark.parametrize("settings", [RPN, DENSE])
@pytest.mark.parametrize("size", [(64, 96), (50, 131)])
def test_the_grid_by_loops(settings, size):
    anchors = corner_anchors(size, min_level=3, max_level=6, **settings)
    assert list(anchors) == ["3", "4", "5", "6"]
    for level, boxes in anchors.items():
        stride = 2 ** int(level)
        rows, columns = (-(-n // stride) for n in size)
        base = base_anchors(
            stride * settings["anchor_size"],
            settings["num_scales"],
            settings["aspect_ratios"],
        )
        assert boxes.shape == [rows, columns, base.size]
        for i, j in np.ndindex(rows, columns):
            corner = np.array([i, j, i, j]) * stride
            np.testing.assert_allclose(boxes[i, j], (corner + base).reshape(-1))


def test_a_size_that_is_not_known():
    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)] * 2)
    def anchors(height, width):
        return corner_anchors((height, width), min_level=2, max_level=6, **RPN)

    expected = corner_anchors((50, 131), min_level=2, max_level=6, **RPN)
    for level, boxes in anchors(50, 131).items():
        np.testing.assert_array_equal(boxes, expected[level])


def test_settings_have_model_gardens_defaults():
    assert RPNAnchor().form == RetinaNetAnchor().form == "model_garden"
