"""samplers.matching: best overlap, padding, boxes without area."""

import numpy as np
import pytest
import tensorflow as tf
from tolerances import ELEMENTWISE, assert_close

from libra_tf.samplers.matching import has_area, match, pad_rows

BOXES = tf.constant(
    [
        [
            [0.0, 0, 10, 8],
            [20, 20, 30, 24],
            [50, 50, 60, 60],
            [5, 5, 5, 9],  # no height
            [5, 9, 9, 5],  # negative width
            [0, 0, 0, 0],  # as non-maximum suppression pads
            [-1, -1, -1, -1],
        ]
    ]
)
GT = tf.constant([[[0.0, 0, 10, 10], [20, 20, 30, 30], [-1, -1, -1, -1]]])


def test_padding_and_empty_boxes_have_no_area():
    np.testing.assert_array_equal(has_area(BOXES), [[True] * 3 + [False] * 4])
    partly_outside = tf.constant([[[-5.0, -5, 3, 3]]])
    assert has_area(partly_outside).numpy().item()


@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_best_overlap_and_whose(jit_compile):
    function = match
    if jit_compile is not None:
        function = tf.function(match, jit_compile=jit_compile)
    iou, index = function(BOXES, GT, has_area(BOXES))
    assert_close(iou, [[0.8, 0.4, 0, -1, -1, -1, -1]], of=ELEMENTWISE)
    assert index.dtype == tf.int32
    assert index[0, :2].numpy().tolist() == [0, 1]


@pytest.mark.parametrize("gt", [-tf.ones([1, 3, 4]), tf.zeros([1, 0, 4])])
def test_without_ground_truth_a_valid_box_has_iou_zero(gt):
    iou, index = match(BOXES, gt, has_area(BOXES))
    np.testing.assert_array_equal(iou, [[0, 0, 0, -1, -1, -1, -1]])
    assert np.all(index >= 0)


def test_rows_are_padded_up_to_a_number():
    assert pad_rows(BOXES, 7) is BOXES
    assert pad_rows(BOXES, 3) is BOXES
    padded = pad_rows(BOXES, 9)
    np.testing.assert_array_equal(padded[:, :7], BOXES)
    np.testing.assert_array_equal(padded[:, 7:], -np.ones([1, 2, 4]))
    classes = pad_rows(tf.constant([[3, 5]]), 3)
    assert classes.numpy().tolist() == [[3, 5, -1]]


@pytest.mark.parametrize("size", [0, 2, 5])
def test_rows_of_unknown_number(size):
    signature = [tf.TensorSpec([None, None, 4])]
    traced = tf.function(lambda x: pad_rows(x, 3), input_signature=signature)
    padded = traced(tf.ones([2, size, 4]))
    assert padded.shape == [2, max(size, 3), 4]
    assert np.sum(padded == 1) == 2 * size * 4
