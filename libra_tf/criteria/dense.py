"""All losses of a one-stage detector from its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf
import tf_keras

from libra_tf.criteria.box import elementwise_box_loss
from libra_tf.criteria.dense_batch import Dense
from libra_tf.criteria.dense_ghm import BOX_DENSITY, CLASS_DENSITY, ghm_box, ghm_class
from libra_tf.criteria.dense_pisa import carl_sum, isr_weights
from libra_tf.criteria.dense_ranking import ranking_loss
from libra_tf.criteria.normalizer import (
    count_at_least_one,
    guided_class_loss,
    replica_mean,
)
from libra_tf.experiments import loss_config
from libra_tf.layers.running_state import RunningState
from libra_tf.losses.focal import focal
from libra_tf.losses.residual_objectness import (
    INITIAL_EXPECTED_POSITIVES,
    next_expected_positives,
    residual_objectness,
)

EXPECTED_POSITIVES = "expected_positives"


class DenseLoss(NamedTuple):
    """Scalars; `model` is the weighted sum of the others."""

    classification: tf.Tensor
    box: tf.Tensor
    model: tf.Tensor


def needed_states(losses: loss_config.RetinaNetLosses) -> dict[str, list[float]]:
    """Returns the first values of what the losses keep from step to step, by name."""
    states = {}
    classification, box = losses.classification, losses.box
    if classification.type == "ghm_c" and classification.ghm.momentum:
        states[CLASS_DENSITY] = [0.0] * classification.ghm.num_bins
    if box.type == "ghm_r" and box.ghm.momentum:
        states[BOX_DENSITY] = [0.0] * box.ghm.num_bins
    moving = classification.objectness.moving
    if classification.type == "residual_objectness" and moving:
        states[EXPECTED_POSITIVES] = [INITIAL_EXPECTED_POSITIVES]
    return states


class DenseLosses:
    """Computes the losses that a config names.

    Args:
        config: settings.
        states: what losses keep from step to step.
        training: whether to update the states.
        box_coder_weights: by which the deltas are multiplied, see `decode_deltas`.
    """

    def __init__(
        self,
        config: loss_config.RetinaNetLosses,
        states: Mapping[str, RunningState],
        training: bool,
        box_coder_weights: Sequence[float] | None = None,
    ):
        self._config, self._states, self._training = config, states, training
        self._box_coder_weights = box_coder_weights

    def __call__(self, dense: Dense) -> DenseLoss:
        """Returns the losses of one replica's batch."""
        config = self._config
        if config.classification.type == "residual_objectness":
            class_loss, box_count = self._objectness(dense)
        else:
            box_count = self._count(dense)
            class_loss = self._class_loss(dense, box_count)
        box_loss, box_weight = self._box_loss(dense, box_count)
        if config.guided.enabled:
            weighted = box_weight * box_loss
            class_loss = guided_class_loss(class_loss, weighted, config.guided.factor)
        class_loss *= config.classification.weight
        return DenseLoss(class_loss, box_loss, class_loss + box_weight * box_loss)

    def _count(self, dense: Dense) -> tf.Tensor:
        """Positives: of this replica plus one, or of all replicas, see the config."""
        if self._config.normalizer == "tfm":
            return tf.reduce_sum(tf.cast(dense.positive, tf.float32)) + 1.0
        return replica_mean(count_at_least_one(dense.positive))

    def _class_loss(self, dense: Dense, count: tf.Tensor) -> tf.Tensor:
        config = self._config.classification
        if config.type in ("average_precision", "distributional_ranking"):
            return ranking_loss(dense, config)
        if config.type == "ghm_c":
            return ghm_class(dense, config.ghm, self._states, self._training)
        values = self._entropies(dense)
        weights = tf.cast(dense.valid, tf.float32)
        # Validation labels tell no objects apart. ISR-P keeps the total: the loss is
        # the same without it.
        if self._config.isr.enabled and self._training:
            weights = isr_weights(
                dense, values, weights, self._config.isr, self._box_coder_weights
            )
        return tf.reduce_sum(values * weights) / count

    def _entropies(self, dense: Dense) -> tf.Tensor:
        """Focal loss or cross entropy of each anchor, added over the classes: [B, A].

        The focal loss takes class 0 too, which no anchor has, as Model Garden's does.
        """
        if self._config.classification.type == "cross_entropy":
            values = tf.nn.sigmoid_cross_entropy_with_logits(
                dense.foreground_targets, dense.foreground_logits
            )
        else:
            values = focal(
                tf.one_hot(dense.classes, dense.logits.shape[-1]),
                dense.logits,
                alpha=self._config.focal_loss_alpha,
                gamma=self._config.focal_loss_gamma,
            )
        return tf.reduce_sum(values, axis=-1)

    def _objectness(self, dense: Dense) -> tuple[tf.Tensor, tf.Tensor]:
        """Objectness plus class loss, and the divisor of the box loss."""
        config = self._config.classification.objectness
        sums = residual_objectness(
            dense.positive,
            dense.valid,
            dense.foreground_targets,
            dense.logits[..., :1],
            dense.foreground_logits,
        )
        counts = self._expected_positives(dense, config)
        objectness = sums.objectness_sum / (config.objectness * counts[0])
        classes = sums.class_sum / (config.classification * counts[1])
        return objectness + classes, counts[2]

    def _expected_positives(
        self, dense: Dense, config: loss_config.ObjectnessNormalizer
    ) -> list[tf.Tensor]:
        """Divisors of the objectness, class and box loss."""
        count = tf.reduce_sum(tf.cast(dense.positive, tf.float32))
        count = replica_mean(count)
        if not config.moving:
            return [count] * 3
        state = self._states[EXPECTED_POSITIVES]
        values = next_expected_positives(state.read()[0], count, updates=config.updates)
        if self._training:
            state.assign(values[-1][tf.newaxis])
        return values if config.updates == 3 else [values[-1]] * 3

    def _box_loss(self, dense: Dense, count: tf.Tensor) -> tuple[tf.Tensor, float]:
        """Box loss of the positive anchors, and its weight."""
        config = self._config
        if config.box.type == "ghm_r":
            loss = ghm_box(dense, config.box.ghm, self._states, self._training)
            return loss, config.box.weight
        if config.box.type == "huber":
            huber = tf_keras.losses.Huber(
                config.huber_loss_delta, reduction=tf_keras.losses.Reduction.SUM
            )
            return huber(dense.box_targets, dense.boxes) / count, config.box_loss_weight
        errors = elementwise_box_loss(config.box)(dense.box_targets, dense.boxes)
        total = tf.reduce_sum(errors)
        if config.carl.weight:
            total += config.carl.weight * carl_sum(dense, errors, config.carl)
        return total / count, config.box.weight
