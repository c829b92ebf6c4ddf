"""Limit the background anchors of the region proposal network.

Shape shorthand in this module:
    B: images in the batch.
    H, W, A: height and width of a level, anchors per position.
"""

import tensorflow as tf

from libra_tf.ops import ranking, sampling

# Libra R-CNN's detectors (neg_pos_ub of their RPN sampler); not in the paper's text.
NEGATIVES_PER_POSITIVE = 5


def limit_negatives(
    score_targets: dict[str, tf.Tensor],
    ratio: float = NEGATIVES_PER_POSITIVE,
    *,
    most: int | None = None,
    seed: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Keeps at most `ratio` background anchors per foreground anchor of an image.

        kept = min(n_neg, floor(ratio * max(1, n_pos)))

    counted over all levels; the kept ones are drawn uniformly, the others become -1
    (ignored). An image without foreground keeps `ratio` background anchors.

    Args:
        score_targets: dict of level -> [B, H, W, A], any number type: 1 foreground,
            0 background, -1 ignored, as the RPN labels of Model Garden.
        ratio: > 0.
        most: no image has more background anchors than this; a small number saves
            sorting all anchors. None: any number.
        seed: integer tensor [2], as for `tf.random.stateless_uniform`.

    Returns:
        The same dict with the surplus background set to -1.

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
    flat = {level: _flatten(target) for level, target in score_targets.items()}
    joined = tf.concat(list(flat.values()), axis=1)
    negatives = tf.equal(joined, 0)
    num_positives = tf.reduce_sum(tf.cast(tf.equal(joined, 1), tf.int32), axis=1)
    limit = ratio * tf.cast(tf.maximum(num_positives, 1), tf.float32)
    kept = _draw(negatives, tf.cast(tf.floor(limit), tf.int32), most, seed)
    surplus = tf.logical_and(negatives, tf.logical_not(kept))
    joined = tf.where(surplus, tf.cast(-1, joined.dtype), joined)
    parts = tf.split(joined, [tf.shape(part)[1] for part in flat.values()], axis=1)
    return {
        level: _restore(part, target)
        for part, (level, target) in zip(parts, score_targets.items(), strict=True)
    }


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


def _flatten(target: tf.Tensor) -> tf.Tensor:
    return tf.reshape(target, [tf.shape(target)[0], -1])


def _restore(part: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    return tf.ensure_shape(tf.reshape(part, tf.shape(target)), target.shape)
