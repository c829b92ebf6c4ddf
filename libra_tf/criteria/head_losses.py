"""What every criterion returns: the class and the box loss of a detector's head."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from libra_tf.criteria.normalizer import guided_class_loss


class Losses(NamedTuple):
    """Scalars of one head. The box loss has not yet its weight in the total."""

    classification: tf.Tensor
    box: tf.Tensor

    def total(self, box_weight: float) -> tf.Tensor:
        """Class loss plus weighted box loss."""
        return self.classification + box_weight * self.box

    def guided(self, factor: float, box_weight: float) -> Losses:
        """With the class loss scaled to `factor` times the weighted box loss."""
        weighted = box_weight * self.box
        return self._replace(
            classification=guided_class_loss(self.classification, weighted, factor)
        )
