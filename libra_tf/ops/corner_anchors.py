"""Anchors centred on the upper left corners of the cells, as mmdetection's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def corner_anchors(
    image_size: Sequence[int | tf.Tensor],
    min_level: int,
    max_level: int,
    num_scales: int,
    aspect_ratios: Sequence[float],
    anchor_size: float,
) -> dict[str, tf.Tensor]:
    """Anchors of all cells of a pyramid.

    A level l has cells at (i, j) * 2**l, as many as fit, rounded up. Around each are
    the anchors of `base_anchors`. They may reach over the image.

    Args:
        image_size: (height, width) of the padded image; integers or scalar tensors.
        min_level: finest level.
        max_level: coarsest level.
        num_scales: scales per octave.
        aspect_ratios: width / height, in order.
        anchor_size: side of the smallest square anchor, in cells.

    Returns:
        {level: `float32` [height_l, width_l, 4 A]}, yxyx in pixels, A the ratios times
        the scales, all scales of the first ratio first.
    """
    anchors = {}
    for level in range(min_level, max_level + 1):
        stride = 2**level
        base = base_anchors(stride * anchor_size, num_scales, aspect_ratios)
        sizes = [-(-side // stride) for side in image_size]
        y, x = (tf.cast(tf.range(n) * stride, tf.float32) for n in sizes)
        y, x = tf.meshgrid(y, x, indexing="ij")
        corners = tf.stack([y, x, y, x], axis=-1)[:, :, tf.newaxis]
        boxes = corners + base
        static = [None if tf.is_tensor(n) else n for n in sizes]
        flat = tf.reshape(boxes, [*sizes, base.size])
        anchors[str(level)] = tf.ensure_shape(flat, [*static, base.size])
    return anchors


def base_anchors(
    side: float, num_scales: int, aspect_ratios: Sequence[float]
) -> np.ndarray:
    """Anchors around (0, 0), `float32` [A, 4], yxyx.

    In float32 throughout, as the reference, whose ratio is height / width.
    """
    scales = np.array([2 ** (i / num_scales) for i in range(num_scales)])
    sides = (side * scales).astype(np.float32)
    tall = np.sqrt((1 / np.asarray(aspect_ratios)).astype(np.float32))
    heights = (tall[:, np.newaxis] * sides).reshape(-1)
    widths = ((1 / tall)[:, np.newaxis] * sides).reshape(-1)
    half = np.float32(0.5)
    return np.stack(
        [-half * heights, -half * widths, half * heights, half * widths], axis=-1
    )
