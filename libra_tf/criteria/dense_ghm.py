"""GHM on a one-stage detector's batch, per batch or per level.

Validation has the histogram of its own batch, without momentum: the moving averages
count the entries of a training batch, and a batch of another size would have a loss of
another size with them.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from libra_tf.criteria.dense_batch import Dense, States
from libra_tf.criteria.normalizer import replica_sum
from libra_tf.experiments import class_loss_config
from libra_tf.layers.running_state import RunningState, UnchangedState
from libra_tf.losses import gradient_density
from libra_tf.losses.ghm_c import ghm_c
from libra_tf.losses.ghm_r import ghm_r
from libra_tf.losses.gradient_density import GradientHarmonized

CLASS_DENSITY, BOX_DENSITY = "class_density", "box_density"


def ghm_class(
    dense: Dense,
    config: class_loss_config.GradientHarmonizing,
    states: States,
    training: bool,
) -> tf.Tensor:
    """GHM-C over all (anchor, class) entries that are not ignored."""
    valid = tf.broadcast_to(
        dense.valid[..., tf.newaxis], tf.shape(dense.foreground_logits)
    )
    inputs = dense.foreground_targets, dense.foreground_logits, valid

    def loss(parts, density):
        return ghm_c(*parts, density=density, **_settings(config, training))

    return _harmonized(
        loss, inputs, dense.level_sizes, config, states.get(CLASS_DENSITY), training
    )


def class_gradient_counts(
    dense: Dense, config: class_loss_config.GradientHarmonizing
) -> tf.Tensor:
    """R_j of GHM-C on this replica's batch: `float32` [num_bins], adds over replicas.

    The number of (anchor, class) entries whose gradient |sigmoid(logit) - target| is in
    bin j of even bins on [0, 1]; ignored anchors have none.
    """
    shape = tf.shape(dense.foreground_logits)
    valid = tf.broadcast_to(dense.valid[..., tf.newaxis], shape)
    length = tf.abs(tf.sigmoid(dense.foreground_logits) - dense.foreground_targets)
    bins = gradient_density.bin_index(length, config.num_bins)
    counts = gradient_density.count(bins, valid, config.num_bins)
    return tf.cast(counts, tf.float32)


def ghm_box(
    dense: Dense,
    config: class_loss_config.GradientHarmonizing,
    states: States,
    training: bool,
) -> tf.Tensor:
    """GHM-R over the coordinates of the positive anchors."""
    valid = tf.broadcast_to(dense.positive[..., tf.newaxis], tf.shape(dense.boxes))
    inputs = dense.box_targets, dense.boxes, valid

    def loss(parts, density):
        return ghm_r(
            *parts, density=density, mu=config.mu, **_settings(config, training)
        )

    return _harmonized(
        loss, inputs, dense.level_sizes, config, states.get(BOX_DENSITY), training
    )


def _settings(config: class_loss_config.GradientHarmonizing, training: bool) -> dict:
    return {
        "num_bins": config.num_bins,
        "momentum": config.momentum if training else 0.0,
        "divisor": config.divisor,
        "sum_replicas": replica_sum,
    }


def _harmonized(
    loss: Callable[..., GradientHarmonized],
    inputs: tuple[tf.Tensor, ...],
    level_sizes: list[int],
    config: class_loss_config.GradientHarmonizing,
    state: RunningState | UnchangedState | None,
    training: bool,
) -> tf.Tensor:
    """Sum of the means of one part, or of each level in turn; keeps the histogram."""
    parts = [inputs]
    if config.per_level:
        split = [tf.split(x, level_sizes, axis=1) for x in inputs]
        parts = list(zip(*split, strict=True))
    density = None if state is None else state.read()
    replicas = tf.cast(
        tf.distribute.get_replica_context().num_replicas_in_sync, tf.float32
    )
    total = 0.0
    for part in parts:
        values, count, density = loss(part, density)
        # Model Garden divides by the replicas; the count is of all of them together.
        total += tf.reduce_sum(values) / count * replicas
    if state is not None and training:
        state.assign(density)
    return total
