"""What a forward pass of the head says about candidates, before any is chosen.

Shape shorthand in this module:
    B: images in the batch.
    N: candidate boxes per image.
    C: classes, 0 the background.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf


class MinedRoIs(NamedTuple):
    """The head's answer for every candidate, in inference mode and without gradient.

    Attributes:
        class_logits: [B, N, C], for a softmax.
        boxes: [B, N, 4], decoded with the deltas of the best foreground class.
    """

    class_logits: tf.Tensor
    boxes: tf.Tensor


# Maps candidate boxes [B, N, 4] to what the head says of them.
Miner = Callable[[tf.Tensor], MinedRoIs]


def class_losses(
    class_logits: tf.Tensor,
    gt_classes: tf.Tensor,
    matched_gt_indices: tf.Tensor,
    positive: tf.Tensor,
) -> tf.Tensor:
    """Softmax cross entropy of each candidate: its object's class, or background.

    Args:
        class_logits: [B, N, C].
        gt_classes: [B, M], classes from 1.
        matched_gt_indices: `int32` [B, N].
        positive: `bool` [B, N]; what is not positive has class 0.

    Returns:
        `float32` [B, N].
    """
    matched = tf.gather(tf.cast(gt_classes, tf.int32), matched_gt_indices, batch_dims=1)
    targets = tf.where(positive, tf.maximum(matched, 0), 0)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=targets, logits=tf.cast(class_logits, tf.float32)
    )


def best_foreground(class_logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Class (from 1) and softmax probability of the best foreground class, [B, N]."""
    foreground = tf.nn.softmax(tf.cast(class_logits, tf.float32))[..., 1:]
    best = tf.argmax(foreground, axis=-1, output_type=tf.int32) + 1
    return best, tf.reduce_max(foreground, axis=-1)
