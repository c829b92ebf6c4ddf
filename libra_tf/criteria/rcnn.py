"""The losses of a two-stage detector: those of the RPN and of the R-CNN head.

The task hands in Model Garden's own losses. They are computed where the settings name
them, and only there: an all-reduce stays in the graph, used or not.
"""

from __future__ import annotations

import functools

import tensorflow as tf

from libra_tf.criteria.box import elementwise_box_loss
from libra_tf.criteria.head_losses import Losses, StockLosses, Tensors
from libra_tf.criteria.rcnn_pisa import carl_loss, roi_class_weights
from libra_tf.criteria.rcnn_terms import (
    rcnn_box_loss,
    rcnn_class_loss,
    sampled_anchor_losses,
)
from libra_tf.experiments import loss_config


def rpn_losses(
    outputs: Tensors,
    labels: Tensors,
    settings: loss_config.MaskRCNNLosses,
    *,
    stock: StockLosses,
) -> Losses:
    """Losses of the RPN.

    Args:
        outputs: of the model, in training.
        labels: of the input pipeline.
        settings: which losses.
        stock: Model Garden's.
    """
    if settings.has_stock_divisors:
        losses = Losses(*stock(outputs, labels))
    else:
        losses = _sampled_losses(outputs, labels, settings)
    if settings.guided.enabled:
        return losses.guided(settings.guided.factor, settings.rpn_box_weight)
    return losses


def rcnn_losses(
    outputs: Tensors,
    labels: Tensors,
    settings: loss_config.MaskRCNNLosses,
    *,
    stock: StockLosses,
) -> Losses:
    """Losses of the R-CNN head; see `rpn_losses`."""
    # Model Garden computes both at once.
    theirs = functools.cache(lambda: Losses(*stock(outputs, labels)))
    losses = Losses(
        theirs().classification
        if settings.has_stock_divisors
        else _class_loss(outputs, settings),
        theirs().box if settings.box.is_stock else _box_loss(outputs, settings),
    )
    if settings.guided.enabled:
        return losses.guided(settings.guided.roi_factor, settings.frcnn_box_weight)
    return losses


def _sampled_losses(
    outputs: Tensors, labels: Tensors, settings: loss_config.MaskRCNNLosses
) -> Losses:
    """Losses of the RPN for every normalizer but "tfm"."""
    return Losses(
        *sampled_anchor_losses(
            outputs["rpn_scores"],
            outputs["rpn_boxes"],
            labels["rpn_score_targets"],
            labels["rpn_box_targets"],
            beta=settings.rpn_huber_loss_delta,
            normalizer=settings.normalizer,
        )
    )


def _class_loss(outputs: Tensors, settings: loss_config.MaskRCNNLosses) -> tf.Tensor:
    """Class loss of the R-CNN head for every normalizer but "tfm"."""
    # Model Garden's sampler gives no weights, and no instances for ISR-P.
    has_weights = "class_weights" in outputs
    return rcnn_class_loss(
        outputs["class_outputs"],
        outputs["class_targets"],
        roi_class_weights(outputs, settings.isr) if has_weights else None,
    )


def _box_loss(outputs: Tensors, settings: loss_config.MaskRCNNLosses) -> tf.Tensor:
    """Box loss of the R-CNN head for every type but "huber", with its factor."""
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
