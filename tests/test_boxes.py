"""ops.boxes: against the PyTorch reference and Model Garden."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from official.vision.ops import box_ops, iou_similarity
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf.ops.boxes import (
    ROI_DELTA_WEIGHTS,
    decode_deltas,
    paired_iou,
    pairwise_iou,
)

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
    assert_close(actual, golden["iou"], of=ELEMENTWISE, scale=1.0)


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
        assert_close(actual, expected, of=ELEMENTWISE, scale=1.0)
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


@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_paired_iou_is_the_diagonal(jit_compile):
    first, second = random_boxes(3, 40, 1), random_boxes(3, 40, 2)
    expected = tf.linalg.diag_part(pairwise_iou(first, second))
    function = paired_iou
    if jit_compile is not None:
        function = tf.function(paired_iou, jit_compile=jit_compile)
    if jit_compile:  # XLA may fuse a multiply and an add
        assert_close(function(first, second), expected, of=ELEMENTWISE)
    else:
        np.testing.assert_array_equal(function(first, second), expected)
    assert np.any(expected.numpy() == -1)
    assert np.any(expected.numpy() > 0)


def test_paired_iou_of_any_rank():
    first, second = random_boxes(6, 8, 1), random_boxes(6, 8, 2)
    expected = paired_iou(first, second).numpy()
    shaped = [tf.reshape(boxes, [2, 3, 8, 4]) for boxes in (first, second)]
    np.testing.assert_array_equal(paired_iou(*shaped), expected.reshape(2, 3, 8))
    np.testing.assert_array_equal(paired_iou(first[0], second[0]), expected[0])
    np.testing.assert_array_equal(paired_iou(first[0, 0], second[0, 0]), expected[0, 0])
    assert paired_iou(first[:, :0], second[:, :0]).shape == [6, 0]
    spec = tf.TensorSpec([None, None, 4])
    traced = tf.function(paired_iou, input_signature=[spec, spec])
    np.testing.assert_array_equal(traced(first, second), expected)


def test_paired_iou_of_bfloat16():
    box = tf.constant([[0, 0, 2, 2]], tf.bfloat16)
    assert paired_iou(box, box).dtype == tf.float32


def random_deltas(shape, seed):
    return tf.random.stateless_normal(shape, seed=(seed, 0), stddev=4.0)


@pytest.mark.parametrize("weights", [None, ROI_DELTA_WEIGHTS])
@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_decode_equals_model_garden(weights, jit_compile):
    """Some of the sides would grow by more than 1000 / 16 and are clamped."""
    anchors, deltas = random_boxes(3, 200, 1), 5 * random_deltas([3, 200, 4], 2)
    expected = box_ops.decode_boxes(deltas, anchors, weights)
    function = decode_deltas
    if jit_compile is not None:
        function = tf.function(decode_deltas, jit_compile=jit_compile)
    actual = function(deltas, anchors, weights=weights)
    if jit_compile is None:
        np.testing.assert_array_equal(actual, expected)
    else:  # a compiler may divide by multiplying, fuse a multiply and an add
        assert_close(actual, expected, of=ELEMENTWISE, scale=np.abs(expected).max())
    grown = deltas / (1.0 if weights is None else tf.constant(weights))
    assert np.any(grown[..., 2:] > np.log(1000 / 16))


def test_decode_hand_values():
    anchors = tf.constant([[10.0, 20, 30, 60]])  # center (20, 40), sides (20, 40)
    np.testing.assert_allclose(decode_deltas(tf.zeros([1, 4]), anchors), anchors)
    deltas = tf.constant([[1.0, -5.0, 5 * np.log(2.0), 5000.0]])
    decoded = decode_deltas(deltas, anchors, weights=ROI_DELTA_WEIGHTS)
    # center (22, 20), sides (40, 40 * 62.5)
    assert_close(decoded, [[2, -1230, 42, 1270]], of=REDUCTION)


def test_decode_inverts_encode():
    anchors, boxes = random_boxes(2, 30, 1)[:, :-2], random_boxes(2, 30, 2)[:, :-2]
    deltas = box_ops.encode_boxes(boxes, anchors, ROI_DELTA_WEIGHTS)
    decoded = decode_deltas(deltas, anchors, weights=ROI_DELTA_WEIGHTS)
    sides = (boxes - anchors)[..., 2:] + (anchors - boxes)[..., :2]
    assert np.any(np.abs(sides) > 10)
    assert_close(decoded, boxes, of=REDUCTION, scale=np.abs(boxes).max())


def test_decode_broadcasts_and_computes_in_float32():
    anchors, deltas = random_boxes(1, 5, 1), random_deltas([2, 5, 4], 2)
    decoded = decode_deltas(tf.cast(deltas, tf.bfloat16), anchors)
    assert decoded.shape == [2, 5, 4]
    assert decoded.dtype == tf.float32


def test_messages_of_paired_boxes():
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(2, 4\)"):
        paired_iou(tf.zeros([3, 4]), tf.zeros([2, 4]))
    with pytest.raises(ValueError, match=r"\[..., 4\], got \(3, 5\)"):
        paired_iou(tf.zeros([3, 5]), tf.zeros([3, 5]))
    with pytest.raises(ValueError, match=r"\(3, 8\) and \(3, 4\)"):
        decode_deltas(tf.zeros([3, 8]), tf.zeros([3, 4]))
    for weights in ((10, 10, 5), (10, 10, 5, 0)):
        with pytest.raises(ValueError, match="weights must be four numbers > 0"):
            decode_deltas(tf.zeros([3, 4]), tf.zeros([3, 4]), weights=weights)
