"""Residual objectness on a one-stage detector's batch, with its divisors."""

from __future__ import annotations

import tensorflow as tf

from libra_tf.criteria.dense_batch import Dense, States
from libra_tf.criteria.normalizer import replica_mean
from libra_tf.experiments import class_loss_config
from libra_tf.losses.residual_objectness import (
    next_expected_positives,
    residual_objectness,
)

EXPECTED_POSITIVES = "expected_positives"


def objectness_loss(
    dense: Dense,
    config: class_loss_config.ObjectnessNormalizer,
    states: States,
    training: bool,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Objectness plus class loss, and the divisor of the box loss."""
    sums = residual_objectness(
        dense.positive,
        dense.valid,
        dense.foreground_targets,
        dense.logits[..., :1],
        dense.foreground_logits,
    )
    counts = _expected_positives(dense, config, states, training)
    objectness = sums.objectness_sum / (config.objectness * counts[0])
    classes = sums.class_sum / (config.classification * counts[1])
    return objectness + classes, counts[2]


def _expected_positives(
    dense: Dense,
    config: class_loss_config.ObjectnessNormalizer,
    states: States,
    training: bool,
) -> list[tf.Tensor]:
    """Divisors of the objectness, class and box loss."""
    count = replica_mean(tf.reduce_sum(tf.cast(dense.positive, tf.float32)))
    if not config.moving:
        return [count] * 3
    state = states[EXPECTED_POSITIVES]
    values = next_expected_positives(state.read()[0], count, updates=config.updates)
    if training:
        state.assign(values[-1][tf.newaxis])
    return values if config.updates == 3 else [values[-1]] * 3
