"""Choose the anchors that train the region proposal network.

Shape shorthand in this module:
    B: images in the batch.
    H, W, A: height and width of a level, anchors per position.
"""

import tensorflow as tf

from libra_tf.ops import ranking, sampling
from libra_tf.ops.largest_iou import largest_iou

# Libra R-CNN's detectors (neg_pos_ub of their RPN sampler); not in the paper's text.
NEGATIVES_PER_POSITIVE = 5
# How negative anchors are chosen: by `limit_negatives` or by nobody, by
# `sample_anchors`, not at all.
NEGATIVES = ("random", "iou_balanced", "all")


def limit_negatives(
    score_targets: dict[str, tf.Tensor],
    ratio: float = NEGATIVES_PER_POSITIVE,
    *,
    most: int | None = None,
    seed: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Keeps at most `ratio` negative anchors per positive anchor of an image.

        kept = min(n_neg, floor(ratio * max(1, n_pos)))

    counted over all levels; the kept ones are drawn uniformly, the others become -1
    (ignored). An image without positives keeps `ratio` negative anchors.

    Args:
        score_targets: dict of level -> [B, H, W, A], any number type: 1 positive,
            0 negative, -1 ignored, as the RPN labels of Model Garden.
        ratio: > 0.
        most: no image has more negative anchors than this; a small number saves
            sorting all anchors. None: any number.
        seed: integer tensor [2], as for `tf.random.stateless_uniform`.

    Returns:
        The same dict with the surplus negatives set to -1.

    Raises:
        ValueError: if `ratio` <= 0 or a level has not the shape [B, H, W, A].
    """
    if not ratio > 0:
        raise ValueError(f"ratio must be > 0, got {ratio}")
    for level, target in score_targets.items():
        if target.shape.rank != 4:
            raise ValueError(
                f"level {level} must have shape [B, H, W, A], got {target.shape}"
            )
    joined = tf.concat([_flatten(t) for t in score_targets.values()], axis=1)
    negative = tf.equal(joined, 0)
    num_positives = tf.reduce_sum(tf.cast(tf.equal(joined, 1), tf.int32), axis=1)
    limit = ratio * tf.cast(tf.maximum(num_positives, 1), tf.float32)
    kept = _draw(negative, tf.cast(tf.floor(limit), tf.int32), most, seed)
    surplus = tf.logical_and(negative, tf.logical_not(kept))
    joined = tf.where(surplus, tf.cast(-1, joined.dtype), joined)
    return _split(joined, score_targets)


def draw_anchors(
    score_targets: dict[str, tf.Tensor],
    *,
    num_samples: int = 256,
    foreground_fraction: float = 0.5,
    ratio: float = 0.0,
    seed: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Draws positive and negative anchors uniformly, as many as `sample_anchors`.

    This is Model Garden's draw, of labels that are known.

    Args:
        score_targets: dict of level -> [B, H, W, A], every anchor labelled: 1
            positive, 0 negative, -1 ignored.
        num_samples: anchors per image.
        foreground_fraction: highest share of positives, in [0, 1].
        ratio: bound on negatives per positive; 0 is none.
        seed: integer tensor [2].

    Returns:
        `score_targets` with what was not drawn set to -1.
    """
    labels = tf.concat([_flatten(t) for t in score_targets.values()], axis=1)
    seeds = tf.random.experimental.stateless_split(seed, 2, alg="philox")
    quota = tf.fill([tf.shape(labels)[0]], int(num_samples * foreground_fraction))
    positive = _draw(tf.equal(labels, 1), quota, num_samples, seeds[0])
    wanted = _wanted_negatives(positive, num_samples, ratio)
    negative = _draw(tf.equal(labels, 0), wanted, num_samples, seeds[1])
    chosen = tf.logical_or(positive, negative)
    return _split(tf.where(chosen, labels, tf.cast(-1, labels.dtype)), score_targets)


def sample_anchors(
    score_targets: dict[str, tf.Tensor],
    anchor_boxes: dict[str, tf.Tensor],
    gt_boxes: tf.Tensor,
    *,
    num_samples: int = 256,
    foreground_fraction: float = 0.5,
    upper: float = 0.3,
    num_bins: int = 3,
    ratio: float = 0.0,
    seed: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Draws positive anchors uniformly and negative anchors balanced by IoU.

        n_pos = min(#positive, int(num_samples * foreground_fraction))
        n_neg = min(#negative, num_samples - n_pos, ratio * max(1, n_pos))

    Args:
        score_targets: dict of level -> [B, H, W, A], every anchor labelled: 1
            positive, 0 negative, -1 ignored.
        anchor_boxes: dict of level -> [B, H, W, 4A], yxyx in pixels.
        gt_boxes: [B, M, 4], padded with -1.
        num_samples: anchors per image.
        foreground_fraction: highest share of positives, in [0, 1].
        upper: IoU below which an anchor is negative; end of the IoU bins.
        num_bins: see `ops.sampling.iou_balanced`.
        ratio: bound on negatives per positive; 0 is none.
        seed: integer tensor [2].

    Returns:
        `score_targets` with what was not drawn set to -1.

    Reference: Libra R-CNN, section 4.3 and Table 3 ("Libra RPN") names the sampler in
    the RPN; its settings there were not released. Bins up to the RPN's own negative
    threshold are this library's reading.
    """
    labels = tf.concat([_flatten(t) for t in score_targets.values()], axis=1)
    boxes = [_flatten_boxes(anchor_boxes[level]) for level in score_targets]
    iou = largest_iou(tf.concat(boxes, axis=1), gt_boxes)
    seeds = tf.random.experimental.stateless_split(seed, 2, alg="philox")
    quota = int(num_samples * foreground_fraction)
    positive = sampling.uniform(tf.equal(labels, 1), quota, seed=seeds[0])
    negative = sampling.iou_balanced(
        iou,
        tf.equal(labels, 0),
        _wanted_negatives(positive, num_samples, ratio),
        num_bins=num_bins,
        upper=upper,
        seed=seeds[1],
    )
    chosen = tf.logical_or(positive, negative)
    return _split(tf.where(chosen, labels, tf.cast(-1, labels.dtype)), score_targets)


def _wanted_negatives(positive: tf.Tensor, num_samples: int, ratio: float) -> tf.Tensor:
    """How many negatives [B] go with the drawn positives [B, N]."""
    num_positives = tf.reduce_sum(tf.cast(positive, tf.int32), axis=1)
    wanted = num_samples - num_positives
    if not ratio:
        return wanted
    limit = ratio * tf.cast(tf.maximum(num_positives, 1), tf.float32)
    return tf.minimum(wanted, tf.cast(tf.floor(limit), tf.int32))


def _draw(
    candidates: tf.Tensor, wanted: tf.Tensor, most: int | None, seed: tf.Tensor
) -> tf.Tensor:
    """Mask of `wanted` [B] candidates, drawn uniformly of at most `most`."""
    if most is None:
        return sampling.uniform(candidates, wanted, seed=seed)
    (keys,) = ranking.random_keys(candidates, 1, seed)
    # Keys are below 2**29: what is no candidate comes last.
    priority = tf.where(candidates, -keys, tf.int32.min)
    batch, size = tf.unstack(tf.shape(candidates))
    found, columns = tf.math.top_k(priority, k=tf.minimum(most, size))
    drawn = tf.range(tf.shape(columns)[1]) < wanted[:, tf.newaxis]
    drawn = tf.logical_and(drawn, found > tf.int32.min)
    rows = tf.repeat(tf.range(batch)[:, tf.newaxis], tf.shape(columns)[1], axis=1)
    counts = tf.scatter_nd(
        tf.stack([rows, columns], -1), tf.cast(drawn, tf.int32), [batch, size]
    )
    return counts > 0


def _split(
    joined: tf.Tensor, score_targets: dict[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """The inverse of flattening and joining the levels."""
    sizes = [tf.shape(_flatten(target))[1] for target in score_targets.values()]
    parts = tf.split(joined, sizes, axis=1)
    return {
        level: _restore(part, target)
        for part, (level, target) in zip(parts, score_targets.items(), strict=True)
    }


def _flatten_boxes(boxes: tf.Tensor) -> tf.Tensor:
    return tf.reshape(boxes, [tf.shape(boxes)[0], -1, 4])


def _flatten(target: tf.Tensor) -> tf.Tensor:
    return tf.reshape(target, [tf.shape(target)[0], -1])


def _restore(part: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    return tf.ensure_shape(tf.reshape(part, tf.shape(target)), target.shape)
