"""Negatives by importance (ISR-N): the highest score of every cluster first.

Shape shorthand in this module:
    B: images in the batch.
    N: candidates per image.
"""

import tensorflow as tf

from libra_tf.ops import ranking, sampling
from libra_tf.ops.hierarchical_rank import IOU_THRESHOLD, score_hierarchical_rank
from libra_tf.ops.rescale import check_power, keep_weighted_sum, shifted_power

# PISA as published: mmdetection, configs/pisa and the defaults of its ScoreHLRSampler.
K = 0.5
BIAS = 0.0
SCORE_THRESHOLD = 0.05


def isr_negative_sample(
    scores: tf.Tensor,
    boxes: tf.Tensor,
    negatives: tf.Tensor,
    num_samples: int | tf.Tensor,
    values: tf.Tensor,
    *,
    k: float = K,
    bias: float = BIAS,
    score_threshold: float = SCORE_THRESHOLD,
    iou_threshold: float = IOU_THRESHOLD,
    seed: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Takes the negatives of best Score-HLR and weighs them by it.

    Valid are the negatives with a score above `score_threshold`, n_valid in number;
    n = min(num_samples, number of negatives) are wanted. With r_i the Score-HLR of a
    valid one (`ops.hierarchical_rank`), the min(n, n_valid) of lowest rank are taken,
    and what is missing is drawn uniformly from the negatives that are not valid.

        u_i = (max(n, n_valid) - r_i) / max(n, n_valid)
        w_i = (bias + (1 - bias) u_i)^k * s

    Refilled negatives get the importance of the last ranked one. s keeps the total of
    the image: sum_i w_i values_i = sum_i values_i over the chosen.

    Args:
        scores: [B, N], highest foreground probability of each candidate.
        boxes: [B, N, 4], the box predicted for that class, yxyx in pixels.
        negatives: `bool` [B, N], the pool of each image.
        num_samples: an `int` or an integer tensor [B].
        values: [B, N], >= 0, class loss (cross entropy) of each candidate as
            background.
        k: >= 0; 0 gives weights 1.
        bias: in [0, 1], share of the weight that the rank does not touch.
        score_threshold: valid is a score above this.
        iou_threshold: in (0, 1], where a box joins the cluster of a better one.
        seed: integer tensor [2], as for `tf.random.stateless_uniform`.

    Returns:
        The chosen negatives, `bool` [B, N], n of each image; and their weights,
        `float32` [B, N], 0 where not chosen. An image without valid negatives gets a
        uniform draw and weights 1, as one whose new total is 0 or not finite gets
        weights 1. No gradient flows through them.

    Raises:
        ValueError: if the shapes disagree or an argument is out of its range.

    Reference: Cao et al., "Prime Sample Attention in Object Detection", CVPR 2020.
    """
    check_power(k, bias)
    scores = tf.cast(tf.stop_gradient(scores), tf.float32)
    values = tf.cast(tf.stop_gradient(values), tf.float32)
    negatives = tf.convert_to_tensor(negatives)
    for name, shape in (("scores", scores.shape), ("values", values.shape)):
        if negatives.shape.rank != 2 or not shape.is_compatible_with(negatives.shape):
            raise ValueError(
                f"{name} and negatives must have the same shape [B, N], got {shape} "
                f"and {negatives.shape}"
            )
    valid = negatives & (scores > score_threshold)
    rank = score_hierarchical_rank(scores, boxes, valid, iou_threshold=iou_threshold)

    num_valid = _count(valid)
    wanted = tf.minimum(ranking.per_image(num_samples, negatives), _count(negatives))
    num_best = tf.minimum(wanted, num_valid)
    best = valid & (rank < num_best[:, tf.newaxis])
    others = negatives & ~valid
    chosen = best | sampling.uniform(others, wanted - num_best, seed=seed)

    last = tf.maximum(num_best - 1, 0)[:, tf.newaxis]
    upper = tf.maximum(tf.maximum(wanted, num_valid), 1)[:, tf.newaxis]
    # Not the own rank of what was drawn, and nothing below 0 for what was not chosen.
    rank = tf.cast(tf.minimum(rank, last), tf.float32)
    upper = tf.cast(upper, tf.float32)
    importance = shifted_power((upper - rank) / upper, k=k, bias=bias)
    weights = keep_weighted_sum(importance, tf.cast(chosen, tf.float32), values, chosen)
    return chosen, weights


def _count(mask: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
