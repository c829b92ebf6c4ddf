"""PISA on a one-stage detector's batch: ISR-P and CARL."""

from __future__ import annotations

import tensorflow as tf

from libra_tf.criteria.dense_batch import Dense
from libra_tf.criteria.pisa import flat, iou_of_deltas
from libra_tf.experiments import loss_config
from libra_tf.losses.carl import carl
from libra_tf.losses.importance import isr_positive_weights


def isr_weights(
    dense: Dense,
    values: tf.Tensor,
    weights: tf.Tensor,
    config: loss_config.PositiveImportance,
) -> tf.Tensor:
    """Weights [B, A] of the anchors' class losses, the positives' by ISR-P.

    Args:
        dense: the batch, with instances.
        values: [B, A], class loss of each anchor.
        weights: [B, A], the weights without ISR-P.
        config: settings.
    """
    iou = iou_of_deltas(dense.boxes, dense.box_targets, dense.delta_weights)
    importance = isr_positive_weights(
        flat(iou),
        flat(dense.classes),
        flat(dense.instances),
        flat(dense.positive),
        flat(values),
        flat(weights),
        k=config.k,
        bias=config.bias,
    )
    return tf.reshape(importance, tf.shape(weights))


def carl_sum(
    dense: Dense, errors: tf.Tensor, config: loss_config.ClassAwareRegression
) -> tf.Tensor:
    """Sum of the positives' box losses [B, A, 4], weighted by their class's score."""
    classes = tf.maximum(dense.classes, 0)
    own = tf.gather(dense.logits, classes, batch_dims=2)
    # The slope of the sigmoid at NaN is NaN, also of one that `carl` does not look at.
    own = tf.sigmoid(tf.where(dense.positive, own, 0.0))
    values = carl(
        flat(own),
        flat(tf.reduce_sum(errors, axis=-1)),
        flat(dense.positive),
        k=config.k,
        bias=config.bias,
    )
    return tf.reduce_sum(values)
