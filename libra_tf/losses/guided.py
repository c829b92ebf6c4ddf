"""Guided classification loss: training without sampling."""

import math

import tensorflow as tf

# The released code (ChenJoya/sampling-free): an RPN or a one-stage head, and an RoI
# head, whose guided loss it doubles.
FACTOR = 1.0
ROI_FACTOR = 2.0


def guided(
    class_loss: tf.Tensor,
    box_loss: tf.Tensor,
    *,
    factor: float = FACTOR,
    global_class_loss: tf.Tensor | None = None,
    global_box_loss: tf.Tensor | None = None,
) -> tf.Tensor:
    """Scales the classification loss to the value of the box loss.

        stop_gradient(factor * box_loss / class_loss) * class_loss

    Its value is `factor` * box_loss; its gradient, that of the classification loss
    times the ratio. None of it reaches the box branch. A constant normaliser of the
    classification loss cancels. It is 0, with zero gradient, where the classification
    loss is 0, and where the box loss is 0 (a batch without positives).

    Args:
        class_loss: >= 0, any shape; usually the scalar loss of a head.
        box_loss: >= 0, same shape.
        factor: > 0; `FACTOR` for an RPN and a one-stage head, `ROI_FACTOR` for an RoI
            head.
        global_class_loss: the classification loss over all replicas, used for the ratio
            in place of `class_loss`. The ratio of the means, the same on each replica,
            is what one replica with the whole batch would use; the mean of the ratios
            is not.
        global_box_loss: the box loss over all replicas; both or neither.

    Returns:
        `float32`, the shape of the inputs; computed in float32 for any input type.

    Raises:
        ValueError: if the shapes differ, `factor` <= 0, or one global loss is missing.

    Reference: Chen et al., "Is Heuristic Sampling Necessary in Training Deep Object
    Detectors?" (arXiv 1909.04868), guided loss scaling. The released code divides by 0
    where the classification loss is 0.
    """
    if not 0 < factor < math.inf:
        raise ValueError(f"factor must be > 0, got {factor}")
    if (global_class_loss is None) != (global_box_loss is None):
        raise ValueError(
            "global_class_loss and global_box_loss must be given together, got one"
        )
    class_loss, box_loss = _pair(class_loss, box_loss)
    numerator, denominator = box_loss, class_loss
    if global_class_loss is not None:
        denominator, numerator = _pair(global_class_loss, global_box_loss)
    ratio = tf.math.divide_no_nan(factor * numerator, denominator)
    # Finite, because an infinite ratio times the 0 of a saturated logit is NaN.
    ratio = tf.where(tf.math.is_inf(ratio), ratio.dtype.max, ratio)
    return tf.stop_gradient(ratio) * class_loss


def _pair(class_loss: tf.Tensor, box_loss: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    class_loss, box_loss = (
        tf.convert_to_tensor(class_loss),
        tf.convert_to_tensor(box_loss),
    )
    if not class_loss.shape.is_compatible_with(box_loss.shape):
        raise ValueError(
            f"class_loss and box_loss must have the same shape, got {class_loss.shape} "
            f"and {box_loss.shape}"
        )
    return tf.cast(class_loss, tf.float32), tf.cast(box_loss, tf.float32)
