"""Objective level: how much of a box loss's gradient comes from accurate boxes.

A sample is one coordinate of a positive, as in the gradients of the paper's section
3.3; it is an inlier below the threshold of the loss and an outlier from there on.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from libra_tf.criteria.box import Elementwise


def gradient_sums(
    errors: tf.Tensor, valid: tf.Tensor, elementwise: Elementwise, *, threshold: float
) -> dict[str, tf.Tensor]:
    """Numbers and gradients of inliers and outliers, which add up over batches.

    Args:
        errors: [..., 4], predicted minus target deltas; may hold anything where not
            `valid`.
        valid: `bool` [...], the positives.
        elementwise: the loss of each coordinate.
        threshold: > 0; an inlier has |error| < threshold.

    Returns:
        `float32` scalars: the numbers `inliers` and `outliers`, and the sums of the
        absolute gradients with respect to the predictions, `inlier_gradient` and
        `outlier_gradient`.

    Raises:
        ValueError: if `threshold` <= 0.

    Reference: Libra R-CNN (CVPR 2019), section 3.3.
    """
    if not threshold > 0:
        raise ValueError(f"threshold must be > 0, got {threshold}")
    valid = tf.broadcast_to(valid[..., tf.newaxis], tf.shape(errors))
    errors = tf.cast(errors, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(errors)
        loss = tf.reduce_sum(elementwise(tf.zeros_like(errors), errors))
    gradient = tf.abs(tape.gradient(loss, errors))
    inlier = valid & (tf.abs(errors) < threshold)
    outlier = valid & (tf.abs(errors) >= threshold)
    return {
        "inliers": _sum(tf.ones_like(errors), inlier),
        "outliers": _sum(tf.ones_like(errors), outlier),
        "inlier_gradient": _sum(gradient, inlier),
        "outlier_gradient": _sum(gradient, outlier),
    }


def summarize_gradients(sums: Mapping[str, float]) -> dict[str, float | None]:
    """Turns added `gradient_sums` into means and shares.

    Returns:
        The numbers of `inliers` and `outliers`; `inlier_mean` and `outlier_mean`, the
        gradient of an average one; `inlier_to_outlier`, their ratio; `inlier_share`,
        the inliers' part of the whole gradient. None: there is nothing to divide by.
    """
    inlier = _quotient(sums["inlier_gradient"], sums["inliers"])
    outlier = _quotient(sums["outlier_gradient"], sums["outliers"])
    whole = sums["inlier_gradient"] + sums["outlier_gradient"]
    return {
        "inliers": int(sums["inliers"]),
        "outliers": int(sums["outliers"]),
        "inlier_mean": inlier,
        "outlier_mean": outlier,
        "inlier_to_outlier": _quotient(inlier, outlier),
        "inlier_share": _quotient(sums["inlier_gradient"], whole),
    }


def _sum(values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.where(mask, values, tf.zeros_like(values)))


def _quotient(value: float | None, divisor: float | None) -> float | None:
    return None if value is None or not divisor else float(value) / float(divisor)
