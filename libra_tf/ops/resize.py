"""Resize feature maps to a size that need not divide, as the reference does.

Shape shorthand in this module:
    B: images in the batch (may be unknown).
    H, W, C: height, width, channels of a feature map.

Sizes that are known when a graph is made give constant indices; others are computed in
the graph, with the same result.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

Size = tuple[int | tf.Tensor, int | tf.Tensor]


def spatial_size(x: tf.Tensor) -> Size:
    """Height and width of [B, H, W, C], as integers where they are known."""
    shape = tf.shape(x)
    return tuple(shape[i] if x.shape[i] is None else x.shape[i] for i in (1, 2))


def adaptive_max_pool(x: tf.Tensor, size: Size) -> tf.Tensor:
    """Maximum over the window of each output cell.

        window i of n over m cells: [floor(i * m / n), ceil((i + 1) * m / n))

    Windows overlap where m is not a multiple of n; where it is, this is plain max
    pooling.

    Args:
        x: [B, H, W, C], any float type.
        size: (height, width) of the result, both >= 1.

    Returns:
        [B, *size, C], of the type of `x`.

    Raises:
        ValueError: if `x` has not four axes, or a size is below 1.

    Deviation: where several cells of a window share the maximum, the gradient is
    shared among them (PyTorch gives all of it to one) unless the sizes divide.
    """
    height, width = _spatial_shape(x, size)
    rows, columns = size
    known = _are_known(height, width, rows, columns)
    if known and (height, width) == (rows, columns):
        return tf.identity(x)
    if known and height % rows == 0 and width % columns == 0:
        window = (height // rows, width // columns)
        return tf.nn.max_pool2d(x, window, window, padding="VALID")
    # The maximum is separable: rows first, then columns.
    return _max_windows(_max_windows(x, 1, height, rows), 2, width, columns)


def nearest_resize(x: tf.Tensor, size: Size) -> tf.Tensor:
    """Value of the cell at `floor(i * (in / out))` along each axis.

    The factor in / out is rounded to float32, as PyTorch does: where i * in / out is a
    whole number, the cell before it may be taken. 50 -> 198 is the smallest such case
    between two levels whose strides differ by 4.

    `tf.image.resize` rounds half-pixel centres instead: 2 -> 3 cells take [0, 1, 1],
    here [0, 0, 1].

    Args:
        x: [B, H, W, C], any float type.
        size: (height, width) of the result, both >= 1.

    Returns:
        [B, *size, C], of the type of `x`.

    Raises:
        ValueError: if `x` has not four axes, or a size is below 1.
    """
    height, width = _spatial_shape(x, size)
    x = _nearest(tf.identity(x), 1, height, size[0])
    return _nearest(x, 2, width, size[1])


def _max_windows(
    x: tf.Tensor, axis: int, cells: int | tf.Tensor, windows: int | tf.Tensor
) -> tf.Tensor:
    known = _are_known(cells, windows)
    if known and cells == windows:
        return x
    if known:
        index = np.arange(windows)
        start: np.ndarray = index * cells // windows
        stop: np.ndarray = -(-(index + 1) * cells // windows)
        # Shorter windows repeat their last cell, which leaves the maximum as it is.
        longest: int = np.max(stop - start)
        gathered = np.minimum(start[:, None] + np.arange(longest), stop[:, None] - 1)
    else:
        index = tf.range(windows)
        start = index * cells // windows
        stop = -(-(index + 1) * cells // windows)
        steps = tf.range(tf.reduce_max(stop - start))
        gathered = tf.minimum(start[:, None] + steps, stop[:, None] - 1)
    return tf.reduce_max(tf.gather(x, gathered, axis=axis), axis=axis + 1)


def _nearest(
    x: tf.Tensor, axis: int, cells: int | tf.Tensor, wanted: int | tf.Tensor
) -> tf.Tensor:
    if not _are_known(cells, wanted):
        factor = tf.cast(cells, tf.float32) / tf.cast(wanted, tf.float32)
        position = tf.cast(tf.range(wanted), tf.float32) * factor
        index = tf.minimum(tf.cast(tf.floor(position), tf.int32), cells - 1)
        return tf.gather(x, index, axis=axis)
    if cells == wanted:
        return x
    if wanted % cells == 0:
        return tf.repeat(x, wanted // cells, axis=axis)
    factor = np.float32(cells) / np.float32(wanted)
    position = np.arange(wanted, dtype=np.float32) * factor
    index = np.minimum(np.floor(position).astype(np.int32), cells - 1)
    return tf.gather(x, index, axis=axis)


def _are_known(*sizes: int | tf.Tensor) -> bool:
    return not any(tf.is_tensor(size) for size in sizes)


def _spatial_shape(x: tf.Tensor, size: Size) -> Size:
    if x.shape.rank != 4:
        raise ValueError(f"x must have shape [B, H, W, C], got {x.shape}")
    if _are_known(*size) and min(size) < 1:
        raise ValueError(f"size must be at least 1 by 1, got {tuple(size)}")
    return spatial_size(x)
