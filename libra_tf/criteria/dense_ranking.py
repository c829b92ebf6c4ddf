"""The ranking losses on a one-stage detector's batch."""

from __future__ import annotations

import tensorflow as tf

from libra_tf.criteria.dense_batch import Dense
from libra_tf.experiments import class_loss_config
from libra_tf.losses.average_precision import average_precision
from libra_tf.losses.distributional_ranking import distributional_ranking


def ranking_loss(dense: Dense, config: class_loss_config.ClassLoss) -> tf.Tensor:
    """AP or DR loss of all entries of this replica that are not ignored."""
    labels, logits = dense.foreground_labels, dense.foreground_logits
    if config.type == "average_precision":
        ap = config.average_precision
        return average_precision(
            labels, logits, delta=ap.delta, interpolated=ap.interpolated
        )
    dr = config.distributional_ranking
    return distributional_ranking(
        labels,
        logits,
        positive_temperature=dr.positive_temperature,
        negative_temperature=dr.negative_temperature,
        smoothing=dr.smoothing,
        scale=dr.scale,
        margin=dr.margin,
        detach_weights=dr.detach_weights,
        per_image=dr.per_image,
    )
