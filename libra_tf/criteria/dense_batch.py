"""The predictions and targets of a one-stage detector, all levels in one row.

Shape shorthand in this module: B images, A anchors of all levels, C classes, of which
Model Garden never uses class 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf
from official.vision.losses import loss_utils

from libra_tf.criteria.head_losses import Tensors
from libra_tf.criteria.pisa import unique_over_batch
from libra_tf.inputs.parsers import INSTANCE
from libra_tf.layers.running_state import RunningState, UnchangedState

# What losses keep from step to step, by name.
States = Mapping[str, RunningState | UnchangedState]


class Dense(NamedTuple):
    """One batch.

    Attributes:
        logits: `float32` [B, A, C].
        classes: `int32` [B, A], -1 for what is no positive.
        positive: `bool` [B, A].
        valid: `bool` [B, A], not ignored.
        boxes: `float32` [B, A, 4], predicted deltas.
        box_targets: `float32` [B, A, 4]; 0 where there is no target.
        instances: `int32` [B, A], the object of each positive; None without that label.
        level_sizes: anchors of each level.
        delta_weights: by which the deltas are multiplied, see `decode_deltas`.
    """

    logits: tf.Tensor
    classes: tf.Tensor
    positive: tf.Tensor
    valid: tf.Tensor
    boxes: tf.Tensor
    box_targets: tf.Tensor
    instances: tf.Tensor | None
    level_sizes: list[int]
    delta_weights: Sequence[float] | None = None

    @property
    def foreground_logits(self) -> tf.Tensor:
        """[B, A, C - 1], without the class that is never used."""
        return self.logits[..., 1:]

    @property
    def foreground_targets(self) -> tf.Tensor:
        """`float32` [B, A, C - 1], 1 for the class of a positive anchor."""
        return tf.one_hot(self.classes - 1, self.logits.shape[-1] - 1)

    @property
    def foreground_labels(self) -> tf.Tensor:
        """`float32` [B, A, C - 1]: 1 positive, 0 negative, -1 ignored."""
        valid = self.valid[..., tf.newaxis]
        return tf.where(valid, self.foreground_targets, -1.0)


def dense_batch(
    outputs: Tensors,
    labels: Tensors,
    num_classes: int,
    delta_weights: Sequence[float] | None = None,
) -> Dense:
    """Joins the levels of what RetinaNet gives and of what it should give."""
    positive = labels["box_weights"] > 0
    mask = positive[..., tf.newaxis]
    # Selected before any loss: 0 * NaN is NaN, and so is its gradient.
    boxes, box_targets = (
        tf.cast(tf.where(mask, x, tf.zeros_like(x)), tf.float32)
        for x in (
            loss_utils.multi_level_flatten(outputs["box_outputs"], last_dim=4),
            loss_utils.multi_level_flatten(labels["box_targets"], last_dim=4),
        )
    )
    classes = loss_utils.multi_level_flatten(labels["cls_targets"], last_dim=None)
    logits = loss_utils.multi_level_flatten(
        outputs["cls_outputs"], last_dim=num_classes
    )
    return Dense(
        logits=tf.cast(logits, tf.float32),
        classes=tf.cast(classes, tf.int32),
        positive=positive,
        valid=labels["cls_weights"] > 0,
        boxes=boxes,
        box_targets=box_targets,
        instances=_instances(labels),
        level_sizes=_level_sizes(outputs["box_outputs"]),
        delta_weights=delta_weights,
    )


def _instances(labels: Tensors) -> tf.Tensor | None:
    targets = labels.get("attribute_targets", {})
    if INSTANCE not in targets:
        return None
    numbers = loss_utils.multi_level_flatten(targets[INSTANCE], last_dim=None)
    return unique_over_batch(tf.cast(numbers, tf.int32))


def _level_sizes(box_outputs: Mapping[str, tf.Tensor]) -> list[int]:
    # Model Garden joins the levels in the order of the mapping.
    shapes = [box_outputs[level].shape for level in box_outputs]
    return [height * width * depth // 4 for _, height, width, depth in shapes]
