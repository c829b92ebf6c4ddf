"""Resize feature maps to a size that need not divide, as the reference does.

Shape shorthand in this module:
    B: images in the batch (may be unknown).
    H, W, C: height, width, channels of a feature map (H, W known).
"""

import numpy as np
import tensorflow as tf


def adaptive_max_pool(x: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
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
        ValueError: if H or W is unknown, or a size is below 1.

    Deviation: where several cells of a window share the maximum, the gradient is
    shared among them (PyTorch gives all of it to one) unless the sizes divide.
    """
    height, width = _spatial_shape(x, size)
    rows, columns = size
    if (height, width) == (rows, columns):
        return tf.identity(x)
    if height % rows == 0 and width % columns == 0:
        window = (height // rows, width // columns)
        return tf.nn.max_pool2d(x, window, window, padding="VALID")
    # The maximum is separable: rows first, then columns.
    return _max_windows(_max_windows(x, 1, height, rows), 2, width, columns)


def nearest_resize(x: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Value of the cell at `floor(i * in / out)` along each axis.

    `tf.image.resize` rounds half-pixel centres instead: 2 -> 3 cells take [0, 1, 1],
    here [0, 0, 1].

    Args:
        x: [B, H, W, C], any float type.
        size: (height, width) of the result, both >= 1.

    Returns:
        [B, *size, C], of the type of `x`.

    Raises:
        ValueError: if H or W is unknown, or a size is below 1.
    """
    height, width = _spatial_shape(x, size)
    x = _nearest(tf.identity(x), 1, height, size[0])
    return _nearest(x, 2, width, size[1])


def _max_windows(x: tf.Tensor, axis: int, cells: int, windows: int) -> tf.Tensor:
    if cells == windows:
        return x
    index = np.arange(windows)
    start = index * cells // windows
    stop = -(-(index + 1) * cells // windows)
    # Shorter windows repeat their last cell, which leaves the maximum as it is.
    longest = np.max(stop - start)
    gathered = np.minimum(start[:, None] + np.arange(longest), stop[:, None] - 1)
    return tf.reduce_max(tf.gather(x, gathered, axis=axis), axis=axis + 1)


def _nearest(x: tf.Tensor, axis: int, cells: int, wanted: int) -> tf.Tensor:
    if cells == wanted:
        return x
    if wanted % cells == 0:
        return tf.repeat(x, wanted // cells, axis=axis)
    return tf.gather(x, np.arange(wanted) * cells // wanted, axis=axis)


def _spatial_shape(x: tf.Tensor, size: tuple[int, int]) -> tuple[int, int]:
    if x.shape.rank != 4 or None in x.shape[1:3].as_list():
        raise ValueError(
            f"x must have shape [B, H, W, C] with known height and width, got {x.shape}"
        )
    if min(size) < 1:
        raise ValueError(f"size must be at least 1 by 1, got {tuple(size)}")
    return x.shape[1], x.shape[2]
