"""The losses of a two-stage detector: those of the RPN and of the R-CNN head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from libra_tf.criteria.box import elementwise_box_loss
from libra_tf.criteria.normalizer import guided_class_loss
from libra_tf.criteria.rcnn_pisa import carl_loss, roi_class_weights
from libra_tf.criteria.rcnn_terms import (
    rcnn_box_loss,
    rcnn_class_loss,
    sampled_anchor_losses,
)
from libra_tf.experiments import loss_config

Tensors = Mapping[str, Any]
# Model Garden's own losses of outputs and labels.
Stock = Callable[[Tensors, Tensors], tuple[tf.Tensor, tf.Tensor]]


class HeadLosses(NamedTuple):
    """Scalars of one head, not yet multiplied by its `*_weight` of Model Garden."""

    classification: tf.Tensor
    box: tf.Tensor


def rpn_losses(
    outputs: Tensors,
    labels: Tensors,
    settings: loss_config.MaskRCNNLosses,
    stock: Stock,
) -> HeadLosses:
    """Losses of the RPN.

    Args:
        outputs: of the model, in training.
        labels: of the input pipeline.
        settings: which losses.
        stock: Model Garden's losses, which "tfm" names.
    """
    if settings.normalizer == "tfm":
        losses = HeadLosses(*stock(outputs, labels))
    else:
        losses = HeadLosses(
            *sampled_anchor_losses(
                outputs["rpn_scores"],
                outputs["rpn_boxes"],
                labels["rpn_score_targets"],
                labels["rpn_box_targets"],
                beta=settings.rpn_huber_loss_delta,
                normalizer=settings.normalizer,
            )
        )
    guided = settings.guided
    return _guide(losses, guided.enabled, guided.factor, settings.rpn_box_weight)


def rcnn_losses(
    outputs: Tensors,
    labels: Tensors,
    settings: loss_config.MaskRCNNLosses,
    stock: Stock,
) -> HeadLosses:
    """Losses of the R-CNN head; see `rpn_losses`.

    Model Garden's class loss goes with the normalizer "tfm", its box loss with "huber".
    """
    own = {}
    if settings.normalizer != "tfm":
        own["classification"] = _class_loss(outputs, settings)
    if settings.box.type != "huber":
        own["box"] = _box_loss(outputs, settings)
    if len(own) < len(HeadLosses._fields):  # else its all-reduce would be in vain
        own = HeadLosses(*stock(outputs, labels))._asdict() | own
    losses = HeadLosses(**own)
    guided = settings.guided
    return _guide(losses, guided.enabled, guided.roi_factor, settings.frcnn_box_weight)


def _guide(
    losses: HeadLosses, enabled: bool, factor: float, box_weight: float
) -> HeadLosses:
    """Scales the class loss to `factor` times the weighted box loss, if enabled."""
    if not enabled:
        return losses
    weighted = box_weight * losses.box
    guided = guided_class_loss(losses.classification, weighted, factor)
    return losses._replace(classification=guided)


def _class_loss(outputs: Tensors, settings: loss_config.MaskRCNNLosses) -> tf.Tensor:
    # Model Garden's sampler gives no weights, and no instances for ISR-P.
    has_weights = "class_weights" in outputs
    return rcnn_class_loss(
        outputs["class_outputs"],
        outputs["class_targets"],
        roi_class_weights(outputs, settings.isr) if has_weights else None,
    )


def _box_loss(outputs: Tensors, settings: loss_config.MaskRCNNLosses) -> tf.Tensor:
    elementwise = elementwise_box_loss(settings.box)
    loss = rcnn_box_loss(
        outputs["box_outputs"],
        outputs["class_targets"],
        outputs["box_targets"],
        elementwise=elementwise,
        normalizer=settings.normalizer,
    )
    if settings.carl.weight:
        loss += carl_loss(outputs, settings.carl, elementwise, settings.normalizer)
    return settings.box.weight * loss
