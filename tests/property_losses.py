"""How each loss is called, with the batches of `property_rows`.

Shape shorthand in this module: B images, A rows (anchors or RoIs).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
import tf_keras
from property_rows import Rows

from libra_tf import losses
from libra_tf.losses.gradient_density import GradientHarmonized


class Loss(NamedTuple):
    """How a loss is called.

    Attributes:
        call: gives the loss of a batch: a scalar, or values [B, A, ...].
        knows_padding: whether an argument tells it what is padding. Otherwise a value
            depends on its own row alone, and padding is left out by whoever adds up.
        doubling: the factor of the loss of a batch that is given twice; None where the
            formula has none.
        nonnegative: whether it is never below 0.
    """

    call: Callable[[Rows], tf.Tensor]
    knows_padding: bool = True
    doubling: float | None = None
    nonnegative: bool = True

    def of(self, batch: Rows) -> tf.Tensor:
        """The loss of a batch, a scalar."""
        values = self.call(batch)
        if not self.knows_padding:
            valid = batch.valid[..., tf.newaxis]
            values = tf.where(valid, values, 0.0)
        return tf.reduce_sum(values)


def _flat(x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, [-1])


def _row_weights(batch: Rows) -> tf.Tensor:
    return tf.cast(batch.valid, tf.float32)


def _positive_weights(batch: Rows) -> tf.Tensor:
    return tf.cast(batch.positive, tf.float32)


def _boxes(loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], **kwargs: object) -> Loss:
    function = functools.partial(loss, **kwargs)
    return Loss(
        lambda batch: function(batch.box_targets, batch.boxes),
        knows_padding=False,
        doubling=2,
    )


def _harmonized(result: GradientHarmonized) -> tf.Tensor:
    return tf.reduce_sum(result.values) / result.total


def _twin(
    loss: tf_keras.losses.Loss, target: str, prediction: str, doubling: float
) -> Loss:
    weights = _row_weights if prediction == "logits" else _positive_weights
    return Loss(
        lambda b: loss(
            getattr(b, target), getattr(b, prediction), sample_weight=weights(b)
        ),
        doubling=doubling,
    )


def _ranking(loss: Callable[..., tf.Tensor], **kwargs: object) -> Loss:
    """A loss of labels; without `doubling`: a copy of a row is one more to rank."""
    return Loss(lambda b: loss(b.labels, b.logits, **kwargs))


def _carl(batch: Rows) -> tf.Tensor:
    return losses.carl(
        _flat(batch.probability), _flat(batch.errors), _flat(batch.positive)
    )


def _isr(batch: Rows) -> tf.Tensor:
    return losses.isr_positive_weights(
        *map(_flat, (batch.iou, batch.classes, batch.instances, batch.positive)),
        _flat(batch.errors),
    )


def _guided(batch: Rows) -> tf.Tensor:
    """Of sums: it gets no rows, so that padding is gone before."""
    class_loss = tf.reduce_sum(tf.where(batch.valid, batch.errors, 0.0))
    boxes = tf.where(batch.positive[..., tf.newaxis], batch.boxes, 0.0)
    return losses.guided(class_loss, tf.reduce_sum(tf.abs(boxes)))


def _ghm_c(batch: Rows) -> tf.Tensor:
    valid = batch.valid[..., tf.newaxis]
    return _harmonized(losses.ghm_c(batch.targets, batch.logits, valid, momentum=0.0))


def _ghm_r(batch: Rows) -> tf.Tensor:
    valid = batch.positive[..., tf.newaxis]
    return _harmonized(losses.ghm_r(batch.box_targets, batch.boxes, valid))


def _residual_objectness(batch: Rows) -> tf.Tensor:
    return tf.add_n(
        losses.residual_objectness(
            batch.positive, batch.valid, batch.targets, batch.objectness, batch.logits
        )
    )


_dr = losses.distributional_ranking
LOSSES = {
    "AveragePrecisionLoss": _ranking(losses.AveragePrecisionLoss()),
    "BalancedL1Loss": _twin(
        losses.BalancedL1Loss(reduction="sum"), "box_targets", "boxes", 2
    ),
    "DistributionalRankingLoss": _ranking(losses.DistributionalRankingLoss()),
    "FocalLoss": _twin(losses.FocalLoss(reduction="sum"), "targets", "logits", 2),
    "GHMCLoss": _twin(losses.GHMCLoss(), "targets", "logits", 1),
    "GHMRLoss": _twin(losses.GHMRLoss(), "box_targets", "boxes", 1),
    "average_precision": _ranking(losses.average_precision),
    "average_precision, plain": _ranking(losses.average_precision, interpolated=False),
    "balanced_l1": _boxes(losses.balanced_l1),
    "balanced_l1, reference": _boxes(losses.balanced_l1, form="reference", beta=0.11),
    "carl": Loss(_carl, doubling=2),
    "distributional_ranking": _ranking(_dr)._replace(doubling=1),
    "distributional_ranking, of images": _ranking(_dr, per_image=True)._replace(
        doubling=1
    ),
    "focal": Loss(
        lambda b: losses.focal(b.targets, b.logits), knows_padding=False, doubling=2
    ),
    "ghm_c": Loss(_ghm_c, doubling=1),
    "ghm_r": Loss(_ghm_r, doubling=1),
    "guided": Loss(_guided, doubling=2),
    "isr_positive_weights": Loss(_isr),
    "l1": _boxes(losses.l1),
    "product_logits": Loss(
        lambda b: losses.product_logits(b.objectness, b.logits),
        knows_padding=False,
        doubling=2,
        nonnegative=False,
    ),
    "residual_objectness": Loss(_residual_objectness, doubling=2),
    "smooth_l1": _boxes(losses.smooth_l1),
}
