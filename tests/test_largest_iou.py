"""ops.largest_iou: the maximum of the table of all pairs, without the table."""

import numpy as np
import pytest
import tensorflow as tf
from tolerances import ELEMENTWISE, assert_close

from libra_tf.ops.boxes import pairwise_iou
from libra_tf.ops.largest_iou import largest_iou


def random_boxes(count, seed, images=3):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-20, 100, (images, count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 60, corner.shape)], -1)
    return tf.constant(boxes, tf.float32)


def scene():
    """Image 1 has one object less, image 2 has none."""
    boxes, gt = random_boxes(40, 1), random_boxes(6, 2).numpy()
    gt[1, 5:] = -1
    gt[2] = -1
    return boxes, tf.constant(gt)


def test_hand_values():
    gt = tf.constant([[[0.0, 0, 4, 4], [2, 2, 6, 6], [-1, -1, -1, -1]]])
    boxes = tf.constant([[[0.0, 0, 4, 4], [2, 0, 6, 4], [9, 9, 10, 10], [3, 3, 3, 3]]])
    assert_close(largest_iou(boxes, gt), [[1, 8 / 24, 0, 0]], of=ELEMENTWISE)


@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_equals_the_table_of_all_pairs(jit_compile):
    boxes, gt = scene()
    function = largest_iou
    if jit_compile is not None:
        function = tf.function(largest_iou, jit_compile=jit_compile)
    expected = tf.maximum(tf.reduce_max(pairwise_iou(boxes, gt), axis=2), 0)
    found = function(boxes, gt)
    assert_close(found, expected, of=ELEMENTWISE)
    assert found.dtype == tf.float32
    assert np.all(found[2] == 0)
    assert np.all(np.max(found[:2], axis=1) > 0)


def test_a_batch_equals_its_singles():
    boxes, gt = scene()
    together = largest_iou(boxes, gt)
    for i in range(3):
        alone = largest_iou(boxes[i : i + 1], gt[i : i + 1])
        np.testing.assert_array_equal(alone[0], together[i])


def test_nothing_to_compare_with():
    boxes, gt = scene()
    np.testing.assert_array_equal(largest_iou(boxes, gt[:, :0]), np.zeros([3, 40]))
    assert largest_iou(boxes[:, :0], gt).shape == [3, 0]


def test_no_gradient_even_in_xla():
    boxes, gt = scene()

    @tf.function(jit_compile=True)
    def gradient(boxes):
        with tf.GradientTape() as tape:
            tape.watch(boxes)
            loss = tf.reduce_sum(largest_iou(boxes, gt) * boxes[..., 0])
        return tape.gradient(loss, boxes)

    found = gradient(boxes).numpy()
    assert_close(found[..., 0], largest_iou(boxes, gt), of=ELEMENTWISE)
    assert not np.any(found[..., 1:])


def test_bfloat16_boxes():
    boxes, gt = (tf.cast(tf.round(x), tf.bfloat16) for x in scene())
    wide = largest_iou(tf.cast(boxes, tf.float32), tf.cast(gt, tf.float32))
    np.testing.assert_array_equal(largest_iou(boxes, gt), wide)


def test_in_a_data_pipeline_with_unknown_sizes():
    boxes, gt = scene()
    dataset = tf.data.Dataset.from_tensor_slices((boxes, gt)).batch(2).map(largest_iou)
    assert dataset.element_spec.shape.as_list() == [None, 40]
    found = np.concatenate([x.numpy() for x in dataset])
    assert_close(found, largest_iou(boxes, gt), of=ELEMENTWISE)
