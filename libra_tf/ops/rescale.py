"""Importance as a loss weight: a power of a rank, and a total that stays.

Shape shorthand in this module:
    N: examples.
"""

import math

import tensorflow as tf

MIN_K = 0  # of the exponent: all examples are equal


def shifted_power(x: tf.Tensor, *, k: float, bias: float) -> tf.Tensor:
    """Weight of an example of linear importance x: (bias + (1 - bias) x)^k.

    Args:
        x: any shape, in [0, 1].
        k: >= 0; 0 makes all examples equal, more favours the important ones.
        bias: in [0, 1], the importance of an example with x = 0.

    Returns:
        `float32`, the shape of `x`.

    Raises:
        ValueError: if `k` or `bias` is out of its range.
    """
    check_power(k, bias)
    return tf.pow(bias + (1.0 - bias) * tf.cast(x, tf.float32), k)


def keep_weighted_sum(
    weights: tf.Tensor, old_weights: tf.Tensor, values: tf.Tensor, members: tf.Tensor
) -> tf.Tensor:
    """Scales the weights of the members so that their weighted values keep their sum.

        w_i * sum_j v_j old_j / sum_j v_j w_j    for the members i, j

    Args:
        weights: [..., N], new weights, >= 0.
        old_weights: [..., N], >= 0.
        values: [..., N], >= 0, the loss of each example; looked at for members only.
        members: `bool` [..., N]. Each row of the last axis is scaled on its own.

    Returns:
        `float32` [..., N]: scaled new weights for members, old weights for the others.
        A row in which the new sum is 0, or the factor not finite, keeps its old
        weights.
    """
    old_weights = tf.cast(old_weights, tf.float32)
    values = tf.cast(values, tf.float32)

    def total(of: tf.Tensor) -> tf.Tensor:
        products = tf.where(members, values * of, 0.0)
        return tf.reduce_sum(products, axis=-1, keepdims=True)

    new_total = total(weights)
    factor = total(old_weights) / tf.where(new_total > 0.0, new_total, 1.0)
    usable = tf.logical_and(new_total > 0.0, tf.math.is_finite(factor))
    return tf.where(tf.logical_and(members, usable), weights * factor, old_weights)


def check_power(k: float, bias: float) -> None:
    """Raises `ValueError` for a `k` or a `bias` out of its range."""
    if not MIN_K <= k < math.inf:
        raise ValueError(f"k must be >= {MIN_K}, got {k}")
    if not 0 <= bias <= 1:
        raise ValueError(f"bias must be in [0, 1], got {bias}")
