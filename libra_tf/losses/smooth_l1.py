"""Smooth L1 and L1: the box losses that balanced L1 is compared with."""

import math

import tensorflow as tf


def smooth_l1(y_true: tf.Tensor, y_pred: tf.Tensor, *, beta: float = 1.0) -> tf.Tensor:
    """Smooth L1 loss of each element.

    With d = |y_pred - y_true|:

        d < beta:  0.5 * d^2 / beta
        else:      d - 0.5 * beta

    The gradient of an outlier is 1 for every beta. (Huber loss, which Model Garden
    uses, is beta times this.)

    Args:
        y_true: targets, any shape.
        y_pred: predictions, same shape.
        beta: > 0, where outliers begin, in the unit of the targets.

    Returns:
        `float32`, the shape of the inputs; computed in float32 for any input type.

    Raises:
        ValueError: if the shapes differ or `beta` <= 0.

    Reference: Girshick, "Fast R-CNN", ICCV 2015, equation 3 (beta = 1).
    """
    if not 0 < beta < math.inf:
        raise ValueError(f"beta must be > 0, got {beta}")
    distance = l1(y_true, y_pred)
    # Written with the clipped distance: no square overflows beyond beta.
    inner = tf.minimum(distance, beta)
    return 0.5 * inner * inner / beta + (distance - inner)


def l1(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """Absolute difference of each element, |y_pred - y_true|.

    Args:
        y_true: targets, any shape.
        y_pred: predictions, same shape.

    Returns:
        `float32`, the shape of the inputs; computed in float32 for any input type.

    Raises:
        ValueError: if the shapes differ.
    """
    y_true, y_pred = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
    if not y_true.shape.is_compatible_with(y_pred.shape):
        raise ValueError(
            f"y_true and y_pred must have the same shape, got {y_true.shape} and "
            f"{y_pred.shape}"
        )
    return tf.abs(tf.cast(y_pred, tf.float32) - tf.cast(y_true, tf.float32))
