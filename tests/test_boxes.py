"""ops.boxes: against the PyTorch reference and Model Garden."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from official.vision.ops import iou_similarity

from libra_tf.ops.boxes import pairwise_iou

GOLDEN = Path(__file__).parent / "golden" / "iou.npz"


def random_boxes(images, count, seed):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 500, (images, count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 300, corner.shape)], -1)
    boxes[:, -2] = -1  # padding
    boxes[:, -1, 2:] = boxes[:, -1, :2]  # no area
    return tf.constant(boxes, tf.float32)


def test_hand_values():
    boxes = tf.constant([[[0.0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6], [2, 0, 4, 2]]])
    expected = [[1, 1 / 7, 0, 0]]
    np.testing.assert_allclose(pairwise_iou(boxes[:, :1], boxes)[0], expected)


def test_golden():
    golden = np.load(GOLDEN)
    boxes = tf.constant(golden["boxes_xyxy"][None][..., [1, 0, 3, 2]])
    actual = pairwise_iou(boxes, boxes)[0]
    np.testing.assert_allclose(actual, golden["iou"], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_equals_model_garden(jit_compile):
    boxes, gt = random_boxes(3, 50, 1), random_boxes(3, 20, 2)
    masks = [tf.reduce_max(x, -1, keepdims=True) < 0 for x in (boxes, gt)]
    expected = iou_similarity.IouSimilarity()(boxes, gt, *masks)
    function = pairwise_iou
    if jit_compile is not None:
        function = tf.function(pairwise_iou, jit_compile=jit_compile)
    actual = function(boxes, gt)
    if jit_compile:  # XLA may fuse a multiply and an add
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-7)
    else:
        np.testing.assert_array_equal(actual, expected)
    assert np.all(actual[:, -2] == -1)
    assert np.all(actual[:, :, -2] == -1)
    assert np.all(actual[:, -1, :-2] == 0)


def test_empty_boxes_have_no_nan_and_a_finite_gradient():
    boxes = tf.zeros([1, 2, 4])
    with tf.GradientTape() as tape:
        tape.watch(boxes)
        iou = pairwise_iou(boxes, boxes)
    np.testing.assert_array_equal(iou, np.zeros([1, 2, 2]))
    assert np.all(np.isfinite(tape.gradient(iou, boxes)))


def test_a_batch_equals_its_images():
    boxes, gt = random_boxes(3, 9, 1), random_boxes(3, 5, 2)
    singles = [pairwise_iou(boxes[i : i + 1], gt[i : i + 1]) for i in range(3)]
    np.testing.assert_array_equal(pairwise_iou(boxes, gt), tf.concat(singles, 0))


def test_no_boxes_and_bfloat16():
    assert pairwise_iou(tf.zeros([2, 0, 4]), tf.zeros([2, 3, 4])).shape == [2, 0, 3]
    box = tf.constant([[[0, 0, 2, 2]]], tf.bfloat16)
    assert pairwise_iou(box, box).dtype == tf.float32


def test_messages():
    with pytest.raises(ValueError, match=r"\(2, 3, 5\) and \(2, 3, 4\)"):
        pairwise_iou(tf.zeros([2, 3, 5]), tf.zeros([2, 3, 4]))
    with pytest.raises(ValueError, match=r"\(1, 3, 4\) and \(2, 3, 4\)"):
        pairwise_iou(tf.zeros([1, 3, 4]), tf.zeros([2, 3, 4]))
