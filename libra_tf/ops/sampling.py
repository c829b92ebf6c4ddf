"""Draw a fixed number of candidates per image: random, balanced, or hardest.

Shape shorthand in this module:
    B: images in the batch.
    N: candidates per image (proposals with the ground truth, or anchors).
    K: IoU bins.

Every function returns a `bool` mask [B, N] in which each image has exactly
`min(num_samples, number of its candidates)` true entries, all of them candidates.
An image whose candidates do not exceed `num_samples` keeps them all.

The draws are stateless: the same `seed` gives the same mask, eagerly, in a graph and
under XLA. Images of a batch draw from different keys.

References:
    Pang et al., "Libra R-CNN: Towards Balanced Learning for Object Detection",
    CVPR 2019, section 3.1 (IoU-balanced sampling, equation 2).
"""

import tensorflow as tf

from libra_tf.ops import ranking


def uniform(
    candidates: tf.Tensor, num_samples: int | tf.Tensor, *, seed: tf.Tensor
) -> tf.Tensor:
    """Draws candidates uniformly, without replacement.

    Args:
        candidates: `bool` [B, N], the pool of each image.
        num_samples: how many to draw per image, an `int` or an integer tensor [B].
        seed: integer tensor [2], as for `tf.random.stateless_uniform`.

    Returns:
        `bool` [B, N], the chosen candidates.

    Raises:
        ValueError: if the shapes disagree.
    """
    candidates = tf.convert_to_tensor(candidates)
    _check_rank(candidates, "candidates")
    (keys,) = ranking.random_keys(candidates, 1, seed)
    return ranking.smallest(keys, candidates, num_samples)


def iou_balanced(
    iou: tf.Tensor,
    candidates: tf.Tensor,
    num_samples: int | tf.Tensor,
    *,
    num_bins: int = 3,
    upper: float = 0.5,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Draws the same number of negatives from each of K even IoU bins.

        p_k = n / K * 1 / M_k    for the M_k candidates with IoU in bin k of [0, upper)

    Each bin gives `floor(n / K)` candidates, or all it has; what is then missing is
    drawn uniformly from the candidates that remain in all bins.

    Args:
        iou: [B, N], highest IoU of each candidate with the ground truth, in [0, 1].
            Candidates are expected below `upper`; one at or above it counts to the
            last bin, one below 0 to the first, so that none is ever lost.
        candidates: `bool` [B, N], the pool of each image.
        num_samples: n, an `int` or an integer tensor [B].
        num_bins: K >= 1; one bin is uniform sampling (Libra R-CNN, section 3.1: 3).
        upper: where the last bin ends, > 0: the IoU below which a box is negative.
        seed: integer tensor [2].

    Returns:
        `bool` [B, N], the chosen candidates.

    Raises:
        ValueError: if the shapes disagree, `num_bins` < 1 or `upper` <= 0.

    Reference: Libra R-CNN, equation 2. The paper does not say what a short bin does.
    """
    iou, candidates = _check_pair(iou, candidates, "iou")
    _check_num_bins(num_bins)
    if not upper > 0:
        raise ValueError(f"upper must be > 0, got {upper}")
    bins = _bin_index(iou, [i * upper / num_bins for i in range(1, num_bins)])
    return _draw_quota_per_group(bins, candidates, num_samples, num_bins, seed)


def iou_balanced_published(
    iou: tf.Tensor,
    candidates: tf.Tensor,
    num_samples: int | tf.Tensor,
    *,
    max_iou: tf.Tensor,
    num_bins: int = 3,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Draws negatives as the published PyTorch sampler of Libra R-CNN does.

    As `iou_balanced`, but the K even bins divide [0, max_iou), and `max_iou` is the
    highest IoU among all boxes of the image, positives and appended ground truth
    included. With ground truth in the pool it is 1: for K = 3 the last bin holds no
    negative, the middle one those of [1/3, 0.5), the first all others.

    A candidate whose IoU equals `max_iou` is in no bin (they are half-open) and enters
    only with the uniform refill. IoU 0 belongs to the first bin (the code of May 2019;
    later revisions treat it differently on the second and further calls).

    Args:
        iou: [B, N], highest IoU of each candidate with the ground truth, in [0, 1].
        candidates: `bool` [B, N], the pool of each image.
        num_samples: n, an `int` or an integer tensor [B].
        max_iou: [B], highest IoU among all valid boxes of each image.
        num_bins: K >= 1; one bin is uniform sampling.
        seed: integer tensor [2].

    Returns:
        `bool` [B, N], the chosen candidates.

    Raises:
        ValueError: if the shapes disagree or `num_bins` < 1.
    """
    iou, candidates = _check_pair(iou, candidates, "iou")
    _check_num_bins(num_bins)
    max_iou = tf.cast(max_iou, iou.dtype)
    if not max_iou.shape.is_compatible_with(iou.shape[:1]):
        raise ValueError(
            f"max_iou must have shape {iou.shape[:1]}, one value for each image of "
            f"iou {iou.shape}, got {max_iou.shape}"
        )
    if num_bins == 1:
        return uniform(candidates, num_samples, seed=seed)
    max_iou = max_iou[:, tf.newaxis]
    bins = _bin_index(iou, [i * (max_iou / num_bins) for i in range(1, num_bins)])
    in_a_bin = iou < max_iou
    return _draw_quota_per_group(
        bins, candidates, num_samples, num_bins, seed, served=in_a_bin
    )


def instance_balanced(
    matched_gt_indices: tf.Tensor,
    candidates: tf.Tensor,
    num_samples: int | tf.Tensor,
    *,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Draws about the same number of positives for each ground-truth instance.

        per instance: round(n / G) + 1, G = instances that own a candidate

    rounded half to even. If the instances together give more than n, n of them are
    kept uniformly; if fewer, the rest is drawn uniformly from the other candidates.
    The published sampler draws duplicates in that last step and returns fewer than n;
    this one returns n.

    Args:
        matched_gt_indices: integers [B, N], the instance that each candidate matches.
        candidates: `bool` [B, N], the pool of each image.
        num_samples: n, an `int` or an integer tensor [B].
        seed: integer tensor [2].

    Returns:
        `bool` [B, N], the chosen candidates.

    Raises:
        ValueError: if the shapes disagree.

    Reference: the positive half of Libra R-CNN's sampler ("Pos Balance", table 4).
    """
    matched_gt_indices, candidates = _check_pair(
        matched_gt_indices, candidates, "matched_gt_indices"
    )
    keys, second_keys = ranking.random_keys(candidates, 2, seed)
    ranks, num_instances = ranking.rank_in_group(keys, matched_gt_indices, candidates)
    wanted = ranking.per_image(num_samples, candidates)
    share = tf.cast(wanted, tf.float32) / tf.cast(tf.maximum(num_instances, 1), "float")
    quota = tf.cast(tf.round(share), tf.int32) + 1  # tf.round: half to even
    return ranking.smallest(
        ranking.second_tier_unless(ranks < quota[:, tf.newaxis], second_keys),
        candidates,
        wanted,
    )


def hardest(
    loss: tf.Tensor, candidates: tf.Tensor, num_samples: int | tf.Tensor
) -> tf.Tensor:
    """Takes the candidates of largest loss; among equals, the lowest index.

    Args:
        loss: [B, N], float; NaN counts as the largest, so that it is not hidden.
        candidates: `bool` [B, N], the pool of each image.
        num_samples: how many to take, an `int` or an integer tensor [B].

    Returns:
        `bool` [B, N], the chosen candidates.

    Raises:
        ValueError: if the shapes disagree.

    Reference: Shrivastava et al., "Training Region-based Object Detectors with Online
    Hard Example Mining", CVPR 2016, section 4.
    """
    loss, candidates = _check_pair(loss, candidates, "loss")
    loss = tf.cast(loss, tf.float32)
    loss = tf.where(tf.math.is_nan(loss), tf.float32.max, loss)
    # Finite, because infinity is the priority of what is no candidate.
    priority = -tf.clip_by_value(loss, tf.float32.min, tf.float32.max)
    return ranking.smallest(priority, candidates, num_samples)


def _draw_quota_per_group(
    groups: tf.Tensor,
    candidates: tf.Tensor,
    num_samples: int | tf.Tensor,
    num_groups: int,
    seed: tf.Tensor,
    served: tf.Tensor | None = None,
) -> tf.Tensor:
    """First `floor(n / num_groups)` of each served group, then a uniform refill.

    The refill needs keys of its own: what a small quota left over in a full group has
    larger keys than average, so with the first keys the refill would favour the groups
    that gave most.
    """
    keys, second_keys = ranking.random_keys(candidates, 2, seed)
    pool = candidates if served is None else tf.logical_and(candidates, served)
    ranks, _ = ranking.rank_in_group(keys, groups, pool)
    wanted = ranking.per_image(num_samples, candidates)
    in_quota = tf.logical_and(pool, ranks < (wanted // num_groups)[:, tf.newaxis])
    return ranking.smallest(
        ranking.second_tier_unless(in_quota, second_keys), candidates, wanted
    )


def _bin_index(iou: tf.Tensor, edges: list[float] | list[tf.Tensor]) -> tf.Tensor:
    """Number of inner edges at or below each IoU: the index of its half-open bin."""
    bins = tf.zeros_like(iou, dtype=tf.int32)
    for edge in edges:
        bins += tf.cast(iou >= edge, tf.int32)
    return bins


def _check_pair(
    values: tf.Tensor, candidates: tf.Tensor, name: str
) -> tuple[tf.Tensor, tf.Tensor]:
    values = tf.convert_to_tensor(values)
    candidates = tf.convert_to_tensor(candidates)
    _check_rank(candidates, "candidates")
    if not values.shape.is_compatible_with(candidates.shape):
        raise ValueError(
            f"{name} and candidates must have the same shape, got {values.shape} and "
            f"{candidates.shape}"
        )
    return values, candidates


def _check_rank(candidates: tf.Tensor, name: str) -> None:
    if candidates.shape.rank != 2:
        raise ValueError(f"{name} must have shape [B, N], got {candidates.shape}")


def _check_num_bins(num_bins: int) -> None:
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
