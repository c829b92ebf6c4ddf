"""Images as the published PyTorch detectors see them in inference.

mmdetection resizes the bytes of an image with OpenCV's bilinear interpolation, which
rounds to whole grey values on the way, subtracts the mean, divides by the deviation,
and pads below and right.

Shape shorthand in this module: B images of one size, H and W that size.
"""

from __future__ import annotations

import tensorflow as tf

# Of ImageNet, in grey values, red first (mmdetection, `img_norm_cfg`).
MEAN_RGB = (123.675, 116.28, 103.53)
DEVIATION_RGB = (58.395, 57.12, 57.375)
# OpenCV's fixed-point arithmetic: weights have 11 bits. Between the two passes, 4 bits
# are dropped before the product, and 16 after it, so that 2 remain to round.
_WEIGHT_BITS, _FIRST_SHIFT, _SECOND_SHIFT, _LAST_SHIFT = 11, 4, 16, 2


def fit_size(size: tf.Tensor, short_side: int, long_side: int) -> tf.Tensor:
    """Returns the largest size of the same ratio with sides up to the given ones.

        scale = min(short_side / min(h, w), long_side / max(h, w))
        size = floor(scale * size + 1/2)

    Args:
        size: [2], height and width, whole numbers >= 1.
        short_side: longest that the shorter side may be, in pixels.
        long_side: longest that the longer side may be, in pixels.

    Returns:
        int32 [2], both >= 1.

    Reference: mmcv `rescale_size`.
    """
    size = tf.cast(size, tf.float64)
    scale = tf.minimum(
        max(short_side, long_side) / tf.reduce_max(size),
        min(short_side, long_side) / tf.reduce_min(size),
    )
    return tf.maximum(tf.cast(tf.floor(size * scale + 0.5), tf.int32), 1)


def resize_bytes(images: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Bilinear interpolation between pixel centres, in the arithmetic of OpenCV.

    Equal to `cv2.resize(image, (width, height))` on bytes, to the last bit. There is no
    filter against aliasing: a smaller image takes four pixels of the larger for each of
    its own.

    Args:
        images: uint8 [B, H, W, C].
        size: [2], height and width of the result, whole numbers >= 1.

    Returns:
        uint8 [B, *size, C].

    Raises:
        ValueError: `images` are not bytes or have another rank.

    Reference: OpenCV `resize`, INTER_LINEAR.
    """
    images = tf.convert_to_tensor(images)
    if images.dtype != tf.uint8 or images.shape.rank != 4:
        raise ValueError(
            f"images must be uint8 [B, H, W, C], got {images.dtype.name} {images.shape}"
        )
    have, size = tf.shape(images), tf.cast(size, tf.int32)
    left, right, weight = _neighbours(have[2], size[1])
    # Columns beyond the border count in full, rows beyond it are mixed of two equals;
    # with weights of whole numbers that is not the same.
    inside = tf.logical_and(left >= 0, left < have[2] - 1)
    weight = tf.where(inside, weight, 0.0)
    pixels = tf.cast(images, tf.int32)
    rows = _take(pixels, left, have[2], 2) * _whole(1.0 - weight)[:, tf.newaxis]
    rows += _take(pixels, right, have[2], 2) * _whole(weight)[:, tf.newaxis]
    rows = tf.bitwise.right_shift(rows, _FIRST_SHIFT)
    upper, lower, weight = _neighbours(have[1], size[0])
    mixed = sum(
        tf.bitwise.right_shift(
            _take(rows, index, have[1], 1) * _whole(part)[:, tf.newaxis, tf.newaxis],
            _SECOND_SHIFT,
        )
        for index, part in ((upper, 1.0 - weight), (lower, weight))
    )
    rounded = tf.bitwise.right_shift(mixed + 2 ** (_LAST_SHIFT - 1), _LAST_SHIFT)
    channels = images.shape[3]
    return tf.ensure_shape(tf.cast(rounded, tf.uint8), [None, None, None, channels])


def _neighbours(have: tf.Tensor, want: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """For each wanted cell the two cells around its centre, and the second's weight."""
    scale = 1.0 / (tf.cast(want, tf.float64) / tf.cast(have, tf.float64))
    centre = (tf.cast(tf.range(want), tf.float64) + 0.5) * scale - 0.5
    centre = tf.cast(centre, tf.float32)
    first = tf.floor(centre)
    index = tf.cast(first, tf.int32)
    return index, index + 1, centre - first


def _take(x: tf.Tensor, index: tf.Tensor, cells: tf.Tensor, axis: int) -> tf.Tensor:
    return tf.gather(x, tf.clip_by_value(index, 0, cells - 1), axis=axis)


def _whole(weight: tf.Tensor) -> tf.Tensor:
    # Both round half to even.
    return tf.cast(tf.round(weight * 2.0**_WEIGHT_BITS), tf.int32)


def normalize_bytes(images: tf.Tensor) -> tf.Tensor:
    """Subtracts the mean of ImageNet and divides by the deviation.

    Args:
        images: [B, H, W, 3], grey values from 0 to 255, red first.

    Returns:
        float32 [B, H, W, 3].
    """
    return (tf.cast(images, tf.float32) - MEAN_RGB) / DEVIATION_RGB


def pad_to_multiple(images: tf.Tensor, divisor: int) -> tf.Tensor:
    """Adds zeros below and right until both sides are multiples of `divisor`.

    Args:
        images: [B, H, W, C].
        divisor: >= 1.

    Returns:
        [B, ceil(H / divisor) * divisor, ceil(W / divisor) * divisor, C].
    """
    shape = tf.shape(images)
    missing = tf.math.floormod(-shape[1:3], divisor)
    zero = tf.zeros_like(missing)
    below_right = tf.stack([zero, missing], axis=1)
    return tf.pad(images, tf.pad(below_right, [[1, 1], [0, 0]]))
