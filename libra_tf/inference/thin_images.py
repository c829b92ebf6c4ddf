"""Images so thin that Model Garden's scaling would leave nothing of them."""

from __future__ import annotations

import tensorflow as tf

# Half a pixel is rounded to none, and quotients are rounded before.
_LEAST = 0.51


def widen(image: tf.Tensor, size: list[int]) -> tf.Tensor:
    """Repeats the rows or columns of an image that would be scaled to no pixel.

    Args:
        image: [H, W, C].
        size: [2], what it will be scaled into with its ratio kept.

    Returns:
        [H', W', C]; the image itself unless it is thinner than half a pixel.
    """
    shape = tf.shape(image)[:2]
    scale = tf.reduce_min(tf.constant(size, tf.float32) / tf.cast(shape, tf.float32))
    wanted = tf.maximum(shape, tf.cast(tf.math.ceil(_LEAST / scale), tf.int32))
    return tf.cond(
        tf.reduce_any(wanted > shape),
        lambda: tf.cast(tf.image.resize(image, wanted, "nearest"), image.dtype),
        lambda: image,
    )


def info_of_original(
    image_info: tf.Tensor, original: tf.Tensor, widened: tf.Tensor
) -> tf.Tensor:
    """Returns the image_info of `original`, given that of the image `widen` made of it.

    Args:
        image_info: [4, 2], Model Garden's.
        original: [H, W, C].
        widened: [H', W', C].
    """
    have, wide = (tf.cast(tf.shape(x)[:2], tf.float32) for x in (original, widened))
    return tf.stack([have, image_info[1], image_info[2] * (wide / have), image_info[3]])
