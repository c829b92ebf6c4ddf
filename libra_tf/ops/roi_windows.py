"""Windows of RoIs on feature maps, and the weights of their cells, see `roi_align`.

Shape shorthand in this module:
    R: RoIs.
    S: bins along a side of the result.
    C: channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf


class Axis(NamedTuple):
    """One axis of R RoIs, in cells of their levels.

    Attributes:
        start: [R], where the RoI begins.
        length: [R].
        grid: `int32` [R], samples per bin.
        limit: `int32` [R], cells of the level.
        first: `int32` [R], first cell of the window.
        count: `int32` [R], cells of the window.
    """

    start: tf.Tensor
    length: tf.Tensor
    grid: tf.Tensor
    limit: tf.Tensor
    first: tf.Tensor
    count: tf.Tensor


class RoIs(NamedTuple):
    """R RoIs. `base` is the row of their level's and image's first cell."""

    y: Axis
    x: Axis
    base: tf.Tensor


def place(
    features: Sequence[tf.Tensor],
    boxes: tf.Tensor,
    levels: tf.Tensor,
    strides: Sequence[int],
    crop_size: int,
    ratio: int,
) -> RoIs:
    """Returns the R = B * N RoIs of [B, N, 4] boxes; arguments of `roi_align`."""
    batch = tf.shape(boxes)[0]
    sizes = tf.stack([tf.shape(x)[1:3] for x in features])  # [levels, 2]
    per_image = tf.reduce_prod(sizes, axis=1)
    level_base = tf.cumsum(batch * per_image, exclusive=True)
    image = tf.repeat(tf.range(batch), tf.shape(boxes)[1])
    levels = tf.reshape(levels, [-1])
    base = tf.gather(level_base, levels) + image * tf.gather(per_image, levels)
    scales = tf.constant([1.0 / stride for stride in strides], tf.float32)
    corners = tf.reshape(boxes, [-1, 4]) * tf.gather(scales, levels)[:, tf.newaxis]
    corners -= 0.5
    limits = tf.gather(sizes, levels)

    def axis(i: int) -> Axis:
        start, limit = corners[:, i], limits[:, i]
        length = corners[:, i + 2] - start
        adaptive = tf.cast(tf.math.ceil(length / crop_size), tf.int32)
        grid = tf.fill(tf.shape(start), ratio) if ratio else adaptive
        first = _cell(start, limit)
        count = _cell(start + length + 1.0, limit) - first + 1
        return Axis(start, length, tf.maximum(grid, 0), limit, first, count)

    return RoIs(axis(0), axis(1), base)


def _cell(position: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
    """The cell at or before a position, inside the map."""
    cell = tf.cast(tf.floor(position), tf.int32)
    return tf.clip_by_value(cell, 0, limit - 1)


def _weights(axis: Axis, crop_size: int) -> tf.Tensor:
    """Weight of each cell of the window for each bin, [R, crop_size, cells].

    That is the mean, over the samples of the bin, of max(0, 1 - distance).
    """
    most, cells = tf.reduce_max(axis.grid), tf.reduce_max(axis.count)
    grid = tf.cast(tf.maximum(axis.grid, 1), tf.float32)[:, tf.newaxis, tf.newaxis]
    bin_side = (axis.length / crop_size)[:, tf.newaxis, tf.newaxis]
    bins = tf.range(crop_size, dtype=tf.float32)[:, tf.newaxis]
    steps = tf.range(most)
    within = (tf.cast(steps, tf.float32) + 0.5) * bin_side / grid  # [R, 1, most]
    position = axis.start[:, tf.newaxis, tf.newaxis] + bins * bin_side + within
    limit = tf.cast(axis.limit, tf.float32)[:, tf.newaxis, tf.newaxis]
    counts = tf.logical_and(position >= -1.0, position <= limit)
    counts = tf.logical_and(counts, steps < axis.grid[:, tf.newaxis, tf.newaxis])
    position = tf.clip_by_value(position, 0.0, limit - 1.0)
    window = tf.range(cells) + axis.first[:, tf.newaxis]
    window = tf.cast(window, tf.float32)[:, tf.newaxis, tf.newaxis]
    near = tf.maximum(1.0 - tf.abs(position[..., tf.newaxis] - window), 0.0)
    mask = tf.cast(counts, tf.float32)[..., tf.newaxis]
    return tf.reduce_sum(near * mask, axis=2) / grid


def _window(rois: RoIs) -> tf.Tensor:
    """Rows of the cells of each window, [R, rows, columns]; repeated at the end."""

    def cells(axis: Axis) -> tf.Tensor:
        steps = tf.range(tf.reduce_max(axis.count))
        steps = tf.minimum(steps, axis.count[:, tf.newaxis] - 1)
        return axis.first[:, tf.newaxis] + steps

    y, x = cells(rois.y)[:, :, tf.newaxis], cells(rois.x)[:, tf.newaxis]
    width = rois.x.limit[:, tf.newaxis, tf.newaxis]
    return rois.base[:, tf.newaxis, tf.newaxis] + y * width + x


def _in_window(weights: tf.Tensor, axis: Axis) -> tf.Tensor:
    """No weight for the cells that `_window` repeats."""
    inside = tf.range(tf.shape(weights)[2]) < axis.count[:, tf.newaxis]
    return weights * tf.cast(inside, tf.float32)[:, tf.newaxis]


def operators(rois: RoIs, crop_size: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns Y [R, S, rows], X [R, S, columns], and the cells [R, rows, columns]."""
    y = _in_window(_weights(rois.y, crop_size), rois.y)
    x = _in_window(_weights(rois.x, crop_size), rois.x)
    return y, x, _window(rois)


def by_size(rois: RoIs) -> tf.Tensor:
    """An order in which windows next to each other are about of the same shape."""

    def octave(count: tf.Tensor) -> tf.Tensor:
        return tf.round(2.0 * tf.math.log(tf.cast(count, tf.float32)))

    key = 64.0 * octave(rois.y.count) + octave(rois.x.count)
    return tf.argsort(key, stable=True)


def take(rois: RoIs, rows: tf.Tensor) -> RoIs:
    """Returns some of the RoIs."""
    return tf.nest.map_structure(lambda x: tf.gather(x, rows), rois)


def apply(y: tf.Tensor, x: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Y F X^T for each RoI: [R, rows, columns, C] -> [R, S, S, C]."""
    count, rows, columns, channels = tf.unstack(tf.shape(values))
    flat = tf.reshape(values, [count, rows, columns * channels])
    part = tf.reshape(tf.matmul(y, flat), [count, -1, columns, channels])
    result = tf.matmul(x[:, tf.newaxis], part)
    return tf.ensure_shape(result, [None, y.shape[1], x.shape[1], values.shape[-1]])


def apply_transposed(y: tf.Tensor, x: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Y^T G X for each RoI: [R, S, S, C] -> [R, rows, columns, C]."""
    part = tf.matmul(x[:, tf.newaxis], values, transpose_a=True)  # [R, S, columns, C]
    count, bins, columns, channels = tf.unstack(tf.shape(part))
    flat = tf.reshape(part, [count, bins, columns * channels])
    result = tf.matmul(y, flat, transpose_a=True)
    return tf.reshape(result, [count, -1, columns, channels])
