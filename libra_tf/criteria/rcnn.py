"""The losses of a two-stage detector: those of the RPN and of the R-CNN head.

Those that a config names and Model Garden has are Model Garden's: the task takes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from libra_tf.criteria.box import elementwise_box_loss
from libra_tf.criteria.head_losses import Losses
from libra_tf.criteria.rcnn_pisa import carl_loss, roi_class_weights
from libra_tf.criteria.rcnn_terms import (
    rcnn_box_loss,
    rcnn_class_loss,
    sampled_anchor_losses,
)
from libra_tf.experiments import loss_config

Tensors = Mapping[str, Any]


def rpn_losses(
    outputs: Tensors, labels: Tensors, settings: loss_config.MaskRCNNLosses
) -> Losses:
    """Losses of the RPN for every normalizer but "tfm", without guiding.

    Args:
        outputs: of the model, in training.
        labels: of the input pipeline.
        settings: which losses.
    """
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


def head_class_loss(
    outputs: Tensors, settings: loss_config.MaskRCNNLosses
) -> tf.Tensor:
    """Class loss of the R-CNN head for every normalizer but "tfm"."""
    # Model Garden's sampler gives no weights, and no instances for ISR-P.
    has_weights = "class_weights" in outputs
    return rcnn_class_loss(
        outputs["class_outputs"],
        outputs["class_targets"],
        roi_class_weights(outputs, settings.isr) if has_weights else None,
    )


def head_box_loss(outputs: Tensors, settings: loss_config.MaskRCNNLosses) -> tf.Tensor:
    """Box loss of the R-CNN head for every type but "huber", with its weight."""
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
