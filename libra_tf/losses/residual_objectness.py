"""Residual objectness: one output takes the imbalance, the classifier what is left.

Shape shorthand in this module:
    ...: images and anchors (or RoIs), any axes.
    C: foreground classes.
"""

from typing import NamedTuple

import tensorflow as tf

from libra_tf.ops.logits import NEVER, objectness_and_classes

# The released code (chenjoya/resobj, `resobj_retinanet.py` and its config). The losses
# are divided by these times the expected positives, the box loss by those alone.
OBJECTNESS_DIVISOR = 20.0
CLASS_DIVISOR = 10.0

# Moving average of the positives of a step, and what it starts from.
MOMENTUM = 0.9
INITIAL_EXPECTED_POSITIVES = 100.0


class ResidualObjectnessLosses(NamedTuple):
    """Sums over the batch, each a `float32` scalar."""

    objectness_sum: tf.Tensor
    class_sum: tf.Tensor


def residual_objectness(
    foreground: tf.Tensor,
    valid: tf.Tensor,
    class_targets_one_hot: tf.Tensor,
    objectness_logits: tf.Tensor,
    class_logits: tf.Tensor,
) -> ResidualObjectnessLosses:
    """Objectness on all anchors, classification on the positives alone.

        objectness_sum = sum over valid anchors of BCE(positive, objectness)
        class_sum = sum over positive anchors, C classes of BCE(one_hot, class)

    Both are plain sums. The released code divides them by 20 E and 10 E
    (`OBJECTNESS_DIVISOR`, `CLASS_DIVISOR`), with E of `next_expected_positives`.

    Args:
        foreground: `bool` [...], the positive anchors.
        valid: `bool` [...], the anchors that are not ignored. One that is not valid
            counts nowhere, positive or not.
        class_targets_one_hot: [..., C] in [0, 1]; read where `foreground` is true.
        objectness_logits: [..., 1], the sum of the objectness and its residuals: it
            alone is supervised.
        class_logits: [..., C].

    Returns:
        The two sums; computed in float32 for any input type.

    Raises:
        ValueError: if the shapes do not fit.

    Reference: Chen et al., "Residual Objectness for Imbalance Reduction", Pattern
    Recognition 2022 (arXiv 1908.09075), and its released code.
    """
    objectness, logits = objectness_and_classes(objectness_logits, class_logits)
    targets = tf.cast(class_targets_one_hot, tf.float32)
    positive, valid = tf.cast(foreground, tf.bool), tf.cast(valid, tf.bool)
    anchors = logits.shape[:-1]
    for name, value, expected in (
        ("foreground", positive, anchors),
        ("valid", valid, anchors),
        ("class_targets_one_hot", targets, logits.shape),
    ):
        if not value.shape.is_compatible_with(expected):
            raise ValueError(
                f"{name} must have shape {expected} to fit class_logits "
                f"{logits.shape}, got {value.shape}"
            )
    positive, valid = positive[..., tf.newaxis], valid[..., tf.newaxis]
    return ResidualObjectnessLosses(
        _masked_sum(valid, tf.cast(positive, tf.float32), objectness),
        _masked_sum(tf.logical_and(positive, valid), targets, logits),
    )


def next_expected_positives(
    expected: float | tf.Tensor, num_positives: int | tf.Tensor, *, updates: int = 1
) -> list[tf.Tensor]:
    """Moving average of the positives, after each of `updates` updates.

        E <- 0.9 E + 0.1 max(num_positives, 1)

    The released code updates three times in a step, under one name, and divides the
    objectness loss by the first value, the class loss by the second and the box loss by
    the third: a momentum of 0.9^3 and three divisors. `updates=3` gives them;
    `updates=1` is without this quirk.

    Args:
        expected: E before the step, a scalar; `INITIAL_EXPECTED_POSITIVES` at first.
        num_positives: positive anchors of the step, a scalar.
        updates: >= 1.

    Returns:
        `updates` `float32` scalars; the last is E for the next step.

    Raises:
        ValueError: if `updates` < 1.
    """
    if updates < 1:
        raise ValueError(f"updates must be at least 1, got {updates}")
    value = tf.cast(expected, tf.float32)
    count = tf.maximum(tf.cast(num_positives, tf.float32), 1.0)
    values = []
    for _ in range(updates):
        value = MOMENTUM * value + (1.0 - MOMENTUM) * count
        values.append(value)
    return values


def _masked_sum(mask: tf.Tensor, targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Sum of the binary cross entropy where `mask` is true."""
    # Selected before the loss: after it, the gradient of a NaN would be NaN. The loss
    # of NEVER with target 0 is 0.
    loss = tf.nn.sigmoid_cross_entropy_with_logits(
        labels=tf.where(mask, targets, 0.0), logits=tf.where(mask, logits, NEVER)
    )
    return tf.reduce_sum(loss)
