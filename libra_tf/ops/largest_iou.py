"""The best overlap of many boxes, without a table of all pairs."""

from __future__ import annotations

import tensorflow as tf

from libra_tf.ops.boxes import pairwise_iou


def largest_iou(boxes: tf.Tensor, gt_boxes: tf.Tensor) -> tf.Tensor:
    """Returns the highest IoU of each box with the ground truth.

    Goes through the ground truth one by one, in memory O(B N): the table of 260,000
    anchors and 100 objects would take 100 MB for every image.

    Args:
        boxes: [B, N, 4], yxyx.
        gt_boxes: [B, M, 4], yxyx, padded with -1.

    Returns:
        `float32` [B, N], 0 where there is no ground truth.
    """
    count = tf.shape(gt_boxes)[1]

    def step(i: tf.Tensor, best: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        overlap = pairwise_iou(boxes, gt_boxes[:, i : i + 1])[..., 0]
        return i + 1, tf.maximum(best, tf.cast(overlap, tf.float32))

    start = tf.zeros(tf.shape(boxes)[:2])
    shapes = tf.TensorShape([]), tf.TensorShape([None, None])
    _, best = tf.while_loop(
        lambda i, _: i < count, step, (0, start), shape_invariants=shapes
    )
    return tf.stop_gradient(tf.ensure_shape(best, boxes.shape[:2]))
