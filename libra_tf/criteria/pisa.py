"""What ISR-P and CARL need of a batch, of one stage or two."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from libra_tf.ops.boxes import decode_deltas, paired_iou


def iou_of_deltas(
    predicted: tf.Tensor, wanted: tf.Tensor, weights: Sequence[float] | None
) -> tf.Tensor:
    """IoU of the boxes that two sets of deltas mean, over the same anchors or RoIs.

    Decoded from a unit box: deltas move and scale each axis, so the IoU of two boxes
    decoded from the same box is the same for every box.

    Args:
        predicted: [..., 4].
        wanted: [..., 4].
        weights: by which the deltas are multiplied, see `decode_deltas`.

    Returns:
        `float32` [...], in [0, 1].
    """
    unit = tf.broadcast_to(tf.constant([0.0, 0.0, 1.0, 1.0]), tf.shape(predicted))
    boxes = [
        decode_deltas(tf.cast(deltas, tf.float32), unit, weights=weights)
        for deltas in (predicted, wanted)
    ]
    # Both moved alike, so that neither is at negative coordinates: that is padding.
    lowest = tf.reduce_min(tf.concat(boxes, axis=-1), axis=-1, keepdims=True)
    return paired_iou(*(box - lowest for box in boxes))


def unique_over_batch(numbers: tf.Tensor) -> tf.Tensor:
    """Makes the numbers of objects, counted in each image, differ between images.

    Args:
        numbers: `int32` [B, N], at least -1, which marks what has no object.

    Returns:
        `int32` [B, N], at least 0.
    """
    most = tf.reduce_max(numbers) + 2
    return numbers + 1 + most * tf.range(tf.shape(numbers)[0])[:, tf.newaxis]


def flat(x: tf.Tensor) -> tf.Tensor:
    """[B, N] -> [B N]: importance is ranked over the whole batch."""
    return tf.reshape(x, [-1])
