"""Values that a head predicts for every class, picked for one class each."""

from __future__ import annotations

import tensorflow as tf


def deltas_of_class(deltas: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """Picks the four deltas of one class per row.

    Args:
        deltas: [B, N, 4C]; a class-agnostic head's [B, N, 4] has nothing to pick.
        classes: [B, N], any number type; what is below 0 counts as class 0.

    Returns:
        [B, N, 4].
    """
    if deltas.shape[-1] == 4:
        return deltas
    shape = tf.shape(deltas)
    per_class = tf.reshape(deltas, [shape[0], shape[1], -1, 4])
    index = tf.maximum(tf.cast(classes, tf.int32), 0)
    return tf.gather(per_class, index, batch_dims=2)


def foreground_deltas(raw_boxes: tf.Tensor, bbox_per_class: bool) -> tf.Tensor:
    """Splits a head's deltas by class, without those of the background.

    Args:
        raw_boxes: [B, N, 4C] with the background first, or [B, N, 4] for all classes.
        bbox_per_class: which of the two.

    Returns:
        [B, N, C - 1, 4] or [B, N, 1, 4].
    """
    batch, count = tf.unstack(tf.shape(raw_boxes)[:2])
    deltas = tf.reshape(raw_boxes, [batch, count, -1, 4])
    return deltas[:, :, 1:] if bbox_per_class else deltas
