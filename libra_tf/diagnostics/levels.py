"""Feature level: how much the levels of a pyramid have in common.

Shape shorthand in this module:
    B: images in the batch.
    H, W, C: height, width, channels of a level (known; C the same for all levels).
    L: levels.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from libra_tf.ops.resize import nearest_resize


def visible_size(image_info: tf.Tensor) -> tf.Tensor:
    """Height and width [B, 2] of each image without padding, from the labels.

    Args:
        image_info: [B, 4, 2]: size before resizing, size of the padded input, scale,
            offset of the crop. (The second row is not the image's own size. A crop
            fills the padded input, wherever it begins.)
    """
    return tf.minimum(image_info[:, 0] * image_info[:, 2], image_info[:, 1])


def is_pyramid(features: Mapping[str, tf.Tensor]) -> bool:
    """Whether there are levels to compare: two or more, all of the same channels."""
    return len(features) > 1 and len({x.shape[-1] for x in features.values()}) == 1


def level_sums(
    features: Mapping[str, tf.Tensor], image_shape: tf.Tensor, input_size: Sequence[int]
) -> dict[str, tf.Tensor]:
    """Similarities and norms of a batch, which add up over batches.

    The coarser level of each pair is resized to the finer one by nearest neighbour,
    which leaves every vector as it is. Positions in the padding of an image do not
    count: there all levels know the same nothing.

    Args:
        features: {level: [B, H, W, C]}.
        image_shape: [B, 2], height and width of each image in pixels of the input.
        input_size: height and width of the input.

    Returns:
        `float32`, levels in ascending order: `norms` [L], sums over the positions of
        the length of the channel vector; `positions` [L], their numbers; and
        `similarities` [L - 1], sums over the finer level's positions of the cosine
        between it and the next level (0 if either vector is 0).

    Raises:
        ValueError: if there are less than two levels or their channels differ.
    """
    levels = sorted(features, key=int)
    if not is_pyramid(features):
        raise ValueError(
            "a pyramid needs two levels or more of the same channels, got "
            f"{ {level: tuple(features[level].shape) for level in levels} }"
        )
    maps = [tf.cast(features[level], tf.float32) for level in levels]
    inside = [_inside(x, image_shape, input_size) for x in maps]
    pairs = zip(maps[:-1], maps[1:], inside[:-1], strict=True)
    return {
        "norms": tf.stack(
            [tf.reduce_sum(_norm(x) * m) for x, m in zip(maps, inside, strict=True)]
        ),
        "positions": tf.stack([tf.reduce_sum(mask) for mask in inside]),
        "similarities": tf.stack(
            [tf.reduce_sum(_cosine(fine, coarse) * m) for fine, coarse, m in pairs]
        ),
    }


def summarize_levels(
    sums: Mapping[str, np.ndarray], levels: Sequence[str]
) -> dict[str, object]:
    """Turns added `level_sums` into means.

    Returns:
        `norms`, the mean length by level; `similarity`, the mean cosine by pair
        ("3-4"); `norm_ratio` by pair, the coarser level's norm by the finer one's;
        `mean_similarity` over the pairs; `norm_spread`, the largest norm by the
        smallest.
    """
    levels = sorted(levels, key=int)
    positions = np.maximum(np.asarray(sums["positions"], np.float64), 1.0)
    norms = sums["norms"] / positions
    similarity = sums["similarities"] / positions[:-1]
    pairs = [f"{a}-{b}" for a, b in itertools.pairwise(levels)]
    ratios = [
        float(coarse / fine) if fine else None
        for fine, coarse in itertools.pairwise(norms)
    ]
    return {
        "norms": dict(zip(levels, map(float, norms), strict=True)),
        "similarity": dict(zip(pairs, map(float, similarity), strict=True)),
        "norm_ratio": dict(zip(pairs, ratios, strict=True)),
        "mean_similarity": float(np.mean(similarity)),
        "norm_spread": float(max(norms) / min(norms)) if min(norms) else None,
    }


def _inside(
    x: tf.Tensor, image_shape: tf.Tensor, input_size: Sequence[int]
) -> tf.Tensor:
    """1 for each position [B, H, W] whose centre lies in the image, else 0."""
    image_shape = tf.cast(image_shape, tf.float32)

    def along(axis: int) -> tf.Tensor:
        size = x.shape[axis + 1]
        centres = (tf.range(size, dtype=tf.float32) + 0.5) * (input_size[axis] / size)
        return tf.cast(centres < image_shape[:, axis, tf.newaxis], tf.float32)

    return along(0)[:, :, tf.newaxis] * along(1)[:, tf.newaxis, :]


def _norm(x: tf.Tensor) -> tf.Tensor:
    return tf.norm(x, axis=-1)


def _cosine(fine: tf.Tensor, coarse: tf.Tensor) -> tf.Tensor:
    coarse = nearest_resize(coarse, (fine.shape[1], fine.shape[2]))
    product = tf.reduce_sum(fine * coarse, axis=-1)
    return tf.math.divide_no_nan(product, _norm(fine) * _norm(coarse))
