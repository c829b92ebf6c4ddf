"""What every criterion takes, and what it returns: class and box loss of a head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import tensorflow as tf

from libra_tf.criteria.normalizer import guided_class_loss

# Outputs of the model, or labels of the input pipeline, by name.
Tensors: TypeAlias = Mapping[str, Any]
# Model Garden's class and box loss of a head, of outputs and labels.
StockLosses: TypeAlias = Callable[[Tensors, Tensors], tuple[tf.Tensor, tf.Tensor]]


class Losses(NamedTuple):
    """Scalars of one head.

    The box loss has not yet its weight in the total: `rpn_box_weight` or
    `frcnn_box_weight` of an R-CNN, `box_weight` of RetinaNet. The factor `box.weight`
    of an R-CNN head comes before its weight, and is in its box loss.
    """

    classification: tf.Tensor
    box: tf.Tensor

    def total(self, box_weight: float) -> tf.Tensor:
        """Class loss plus weighted box loss."""
        return self.classification + box_weight * self.box

    def scaled(self, class_weight: float, box_weight: float) -> Losses:
        """With a factor on each."""
        return Losses(class_weight * self.classification, box_weight * self.box)

    def guided(self, factor: float, box_weight: float) -> Losses:
        """With the class loss scaled to `factor` times the weighted box loss."""
        weighted = box_weight * self.box
        return self._replace(
            classification=guided_class_loss(self.classification, weighted, factor)
        )
