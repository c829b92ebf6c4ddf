"""How many examples the gradient of the class loss comes from, and its size."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def example_gradient_sums(
    gradients: Sequence[tf.Tensor], classes: int
) -> dict[str, tf.Tensor]:
    """Sums that the effective sample size is made of; they add up over replicas.

    With g_i the length of the class loss's gradient with respect to the logits of
    anchor or RoI i, the effective sample size is

        (sum_i g_i)^2 / sum_i g_i^2

    n where n examples weigh the same and the others nothing (Kish, "Survey Sampling",
    1965, with g as weights).

    Args:
        gradients: tensors whose last axes hold `classes` numbers of each example.
        classes: logits of an example.

    Returns:
        `float32` scalars `length` (sum of g) and `square` (sum of g^2).
    """
    rows = [tf.reshape(tf.cast(x, tf.float32), [-1, classes]) for x in gradients]
    squares = [tf.reduce_sum(tf.square(row), axis=-1) for row in rows]
    return {
        "length": tf.add_n([tf.reduce_sum(tf.sqrt(x)) for x in squares]),
        "square": tf.add_n([tf.reduce_sum(x) for x in squares]),
    }


def squared_norm(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """Sum of the squares of all entries, `float32`; those of images add up."""
    return tf.add_n(
        [tf.reduce_sum(tf.square(tf.cast(x, tf.float32))) for x in gradients]
    )
