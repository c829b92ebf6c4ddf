"""Which candidate belongs to which ground-truth box."""

from __future__ import annotations

import tensorflow as tf

from libra_tf.ops.boxes import pairwise_iou


def has_area(boxes: tf.Tensor) -> tf.Tensor:
    """Mask [B, N] of the boxes [B, N, 4] that are neither padding nor empty."""
    sides = boxes[..., 2:] - boxes[..., :2]
    not_padding = tf.reduce_max(boxes, axis=-1) >= 0
    return not_padding & tf.reduce_all(sides > 0, axis=-1)


def match(
    boxes: tf.Tensor, gt_boxes: tf.Tensor, valid: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Highest IoU of each box and the index of its ground-truth box, both [B, N]."""
    overlaps = pairwise_iou(boxes, pad_rows(gt_boxes, 1))
    # -1 means padding on either side; a valid box beside no ground truth has IoU 0.
    iou = tf.where(valid, tf.maximum(tf.reduce_max(overlaps, axis=2), 0.0), -1.0)
    return iou, tf.argmax(overlaps, axis=2, output_type=tf.int32)


def pad_rows(x: tf.Tensor, rows: int) -> tf.Tensor:
    """Appends rows of -1 along axis 1 until there are at least `rows`."""
    size = x.shape[1]
    if size is None:
        missing = tf.maximum(rows - tf.shape(x)[1], 0)
    elif size >= rows:
        return x
    else:
        missing = rows - size
    paddings = [[0, 0], [0, missing]] + [[0, 0]] * (x.shape.rank - 2)
    return tf.pad(x, paddings, constant_values=-1)


def repeat_real_rows(boxes: tf.Tensor) -> tf.Tensor:
    """Puts boxes of the same image in place of those that `has_area` leaves out.

    They come in turn, so each is repeated as often as the others, or once less.

    Args:
        boxes: [B, N, 4].

    Returns:
        [B, N, 4]; an image without any box with an area stays as it is.
    """
    real = has_area(boxes)
    count = tf.reduce_sum(tf.cast(real, tf.int32), axis=1, keepdims=True)
    first_real = tf.argsort(tf.where(real, 0, 1), axis=1, stable=True)
    turn = (tf.cumsum(tf.where(real, 0, 1), axis=1) - 1) % tf.maximum(count, 1)
    filling = tf.gather(boxes, tf.gather(first_real, turn, batch_dims=1), batch_dims=1)
    return tf.where(real[..., tf.newaxis], boxes, filling)
