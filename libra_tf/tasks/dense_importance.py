"""PISA on a one-stage detector's batch: ISR-P and CARL."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from libra_tf.experiments import loss_config
from libra_tf.losses.carl import carl
from libra_tf.losses.importance import isr_positive_weights
from libra_tf.ops.boxes import decode_deltas, paired_iou
from libra_tf.tasks.dense import Dense


def isr_weights(
    dense: Dense,
    values: tf.Tensor,
    weights: tf.Tensor,
    config: loss_config.PositiveImportance,
    box_coder_weights: Sequence[float] | None = None,
) -> tf.Tensor:
    """Weights [B, A] of the anchors' class losses, the positives' by ISR-P.

    Args:
      dense: the batch, with instances.
      values: [B, A], class loss of each anchor.
      weights: [B, A], the weights without ISR-P.
      config: settings.
      box_coder_weights: by which the deltas are multiplied, see `decode_deltas`.
    """
    # Decoded from a unit box: the IoU of two boxes decoded from the same anchor is
    # the same for every anchor.
    unit = tf.broadcast_to(tf.constant([0.0, 0.0, 1.0, 1.0]), tf.shape(dense.boxes))
    predicted, wanted = (
        decode_deltas(deltas, unit, weights=box_coder_weights)
        for deltas in (dense.boxes, dense.box_targets)
    )
    # -1 is for boxes at negative coordinates, which mean nothing here.
    iou = tf.maximum(paired_iou(predicted, wanted), 0.0)
    importance = isr_positive_weights(
        _flat(iou),
        _flat(dense.classes),
        _flat(dense.instances),
        _flat(dense.positive),
        _flat(values),
        _flat(weights),
        k=config.k,
        bias=config.bias,
    )
    return tf.reshape(importance, tf.shape(weights))


def carl_sum(
    dense: Dense, errors: tf.Tensor, config: loss_config.ClassAwareRegression
) -> tf.Tensor:
    """Sum of the positives' box losses [B, A, 4], weighted by their class's score."""
    classes = tf.maximum(dense.classes, 0)
    own = tf.gather(tf.sigmoid(dense.logits), classes, batch_dims=2)
    values = carl(
        _flat(own),
        _flat(tf.reduce_sum(errors, axis=-1)),
        _flat(dense.positive),
        k=config.k,
        bias=config.bias,
    )
    return tf.reduce_sum(values)


def _flat(x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, [-1])
