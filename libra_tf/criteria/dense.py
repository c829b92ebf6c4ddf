"""The losses of a one-stage detector.

Where a config names all of Model Garden's, the task takes those.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
import tf_keras

from libra_tf.criteria.box import elementwise_box_loss
from libra_tf.criteria.dense_batch import Dense, States, dense_batch
from libra_tf.criteria.dense_ghm import BOX_DENSITY, CLASS_DENSITY, ghm_box, ghm_class
from libra_tf.criteria.dense_objectness import EXPECTED_POSITIVES, objectness_loss
from libra_tf.criteria.dense_pisa import carl_sum, isr_weights
from libra_tf.criteria.dense_ranking import ranking_loss
from libra_tf.criteria.head_losses import Losses, Tensors
from libra_tf.criteria.normalizer import count_at_least_one, replica_mean
from libra_tf.experiments import loss_config
from libra_tf.losses.focal import focal
from libra_tf.losses.residual_objectness import INITIAL_EXPECTED_POSITIVES


def dense_losses(
    outputs: Tensors,
    labels: Tensors,
    settings: loss_config.RetinaNetLosses,
    *,
    num_classes: int,
    box_coder_weights: Sequence[float] | None = None,
    states: States,
    training: bool,
) -> Losses:
    """Losses of one replica's batch.

    Args:
        outputs: of the model.
        labels: of the input pipeline.
        settings: which losses.
        num_classes: of the model, with class 0.
        box_coder_weights: by which the deltas are multiplied, see `decode_deltas`.
        states: what losses keep from step to step, see `needed_states`.
        training: whether to update the states.
    """
    dense = dense_batch(outputs, labels, num_classes, box_coder_weights)
    return batch_losses(dense, settings, states=states, training=training)


def batch_losses(
    dense: Dense,
    settings: loss_config.RetinaNetLosses,
    *,
    states: States,
    training: bool,
) -> Losses:
    """See `dense_losses`."""
    class_loss, divisor = _class_loss(dense, settings, states, training)
    losses = Losses(class_loss, _box_loss(dense, settings, divisor, states, training))
    if settings.guided.enabled:
        losses = losses.guided(settings.guided.factor, settings.box_weight)
    weighted = losses.classification * settings.classification.weight
    return losses._replace(classification=weighted)


def needed_states(settings: loss_config.RetinaNetLosses) -> dict[str, list[float]]:
    """Returns the first values of what the losses keep from step to step, by name."""
    states = {}
    classification, box = settings.classification, settings.box
    if classification.type == "ghm_c" and classification.ghm.momentum:
        states[CLASS_DENSITY] = [0.0] * classification.ghm.num_bins
    if box.type == "ghm_r" and box.ghm.momentum:
        states[BOX_DENSITY] = [0.0] * box.ghm.num_bins
    moving = classification.objectness.moving
    if classification.type == "residual_objectness" and moving:
        states[EXPECTED_POSITIVES] = [INITIAL_EXPECTED_POSITIVES]
    return states


def _class_loss(
    dense: Dense,
    settings: loss_config.RetinaNetLosses,
    states: States,
    training: bool,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The class loss, and the divisor of the box loss."""
    config = settings.classification
    if config.type == "residual_objectness":
        return objectness_loss(dense, config.objectness, states, training)
    count = _count_positives(dense.positive, settings)
    if config.type in ("average_precision", "distributional_ranking"):
        return ranking_loss(dense, config), count
    if config.type == "ghm_c":
        return ghm_class(dense, config.ghm, states, training), count
    return _entropy_sum(dense, settings, training) / count, count


def _count_positives(
    positive: tf.Tensor, settings: loss_config.RetinaNetLosses
) -> tf.Tensor:
    """Those of this replica plus one ("tfm"), or of all replicas ("reference")."""
    if settings.has_stock_divisors:
        return tf.reduce_sum(tf.cast(positive, tf.float32)) + 1.0
    return replica_mean(count_at_least_one(positive))


def _entropy_sum(
    dense: Dense, settings: loss_config.RetinaNetLosses, training: bool
) -> tf.Tensor:
    """Focal loss or cross entropy of all anchors that are not ignored."""
    values = _entropies(dense, settings)
    weights = tf.cast(dense.valid, tf.float32)
    # Validation labels tell no objects apart. ISR-P keeps the total: the loss is the
    # same without it.
    if settings.isr.enabled and training:
        weights = isr_weights(dense, values, weights, settings.isr)
    return tf.reduce_sum(values * weights)


def _entropies(dense: Dense, settings: loss_config.RetinaNetLosses) -> tf.Tensor:
    """Focal loss or cross entropy of each anchor, added over the classes: [B, A].

    The focal loss takes class 0 too, which no anchor has, as Model Garden's does.
    """
    # An ignored anchor gets weight 0, but 0 * NaN is NaN.
    logits = tf.where(dense.valid[..., tf.newaxis], dense.logits, 0.0)
    if settings.classification.type == "cross_entropy":
        values = tf.nn.sigmoid_cross_entropy_with_logits(
            dense.foreground_targets, logits[..., 1:]
        )
    else:
        values = focal(
            tf.one_hot(dense.classes, dense.logits.shape[-1]),
            logits,
            alpha=settings.focal_loss_alpha,
            gamma=settings.focal_loss_gamma,
        )
    return tf.reduce_sum(values, axis=-1)


def _box_loss(
    dense: Dense,
    settings: loss_config.RetinaNetLosses,
    divisor: tf.Tensor,
    states: States,
    training: bool,
) -> tf.Tensor:
    """Box loss of the positive anchors."""
    config = settings.box
    if config.type == "ghm_r":
        return ghm_box(dense, config.ghm, states, training)
    if config.is_stock:
        # The mean of the four coordinates of each box.
        errors = tf_keras.losses.huber(
            dense.box_targets, dense.boxes, delta=settings.huber_loss_delta
        )
        return tf.reduce_sum(errors) / divisor
    errors = elementwise_box_loss(config)(dense.box_targets, dense.boxes)
    total = tf.reduce_sum(errors)
    if settings.carl.weight:
        total += settings.carl.weight * carl_sum(dense, errors, settings.carl)
    return total / divisor
