"""Image files of any kind and size, read inside the graph of a SavedModel.

TensorFlow's decoders raise on a damaged file, which would end the whole batch, and a
graph has no `try`. But a data set goes on after an error, and may be used in a graph:
an image that cannot be decoded is black, of one pixel, and marked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from libra_tf.data.images import MAX_PIXELS
from libra_tf.ops.depth import decode_deep_png, is_deep_png
from libra_tf.ops.exif import exif_orientation, turn_upright
from libra_tf.ops.picture_size import is_webp, num_pixels

_FEATURES = {"image/encoded": tf.io.FixedLenFeature([], tf.string)}


def decode_upright(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes JPEG, PNG, BMP, WebP or the first picture of a GIF.

    Args:
        encoded: string [], the file.

    Returns:
        uint8 [H, W, 3], turned as its EXIF tag says; grey is repeated, transparency
        dropped, and of 16 bits those that are used are scaled to 8.

    Raises:
        tf.errors.InvalidArgumentError: it is damaged, of another kind, or has more than
            `MAX_PIXELS` pixels, of which none is decoded.
    """
    fits = tf.debugging.assert_less_equal(
        num_pixels(encoded), tf.constant(MAX_PIXELS, tf.int64)
    )
    with tf.control_dependencies([fits] if fits is not None else []):
        encoded = tf.identity(encoded)
    image = tf.cond(
        is_deep_png(encoded),
        lambda: decode_deep_png(encoded),
        lambda: _decode_shallow(encoded),
    )
    image.set_shape([None, None, 3])
    return turn_upright(image, exif_orientation(encoded))


def _decode_shallow(encoded: tf.Tensor) -> tf.Tensor:
    def decode(channels: int) -> tf.Tensor:
        image = tf.io.decode_image(encoded, channels, expand_animations=False)
        return tf.ensure_shape(image[..., :3], [None, None, 3])

    # Of WebP TensorFlow gives the channels that there are, or fails.
    return tf.cond(is_webp(encoded), lambda: decode(0), lambda: decode(3))


def read_image(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `decode_upright`, or zeros [1, 1, 3], and whether it could be decoded."""
    return _attempt(
        lambda file: (decode_upright(file), tf.constant(True)),
        encoded,
        (tf.zeros([1, 1, 3], tf.uint8), tf.constant(False)),
    )


def read_example(serialized: tf.Tensor) -> tf.Tensor:
    """Returns the image file in a `tf.train.Example`; empty where there is none."""
    return _attempt(
        lambda e: tf.io.parse_single_example(e, _FEATURES)["image/encoded"],
        serialized,
        tf.constant(b""),
    )


def _attempt(
    function: Callable[[tf.Tensor], Any], value: tf.Tensor, otherwise: Any
) -> Any:
    """Returns `function(value)`, or `otherwise` where that raises."""
    plain = tf.autograph.experimental.do_not_convert(function)
    values = tf.data.Dataset.from_tensors(value).map(plain).ignore_errors()
    values = values.concatenate(tf.data.Dataset.from_tensors(otherwise))
    return values.take(1).get_single_element()


def map_each(
    function: Callable[[tf.Tensor], Any], values: tf.Tensor, parallel: int
) -> Any:
    """Returns the stacked results of a function, whatever their structure.

    Args:
        function: of a string [].
        values: string [B].
        parallel: how many are computed at a time.
    """
    spec = tf.TensorSpec([], tf.string)
    one = tf.function(function, autograph=False).get_concrete_function(spec)
    signature = tf.nest.map_structure(
        lambda x: tf.TensorSpec(x.shape, x.dtype), one.structured_outputs
    )
    return tf.map_fn(
        one, values, fn_output_signature=signature, parallel_iterations=parallel
    )


def mark_unreadable(image_info: tf.Tensor, is_readable: tf.Tensor) -> tf.Tensor:
    """Sets the original size of an image that could not be decoded to zero.

    Args:
        image_info: [..., 4, 2], Model Garden's.
        is_readable: bool [...].
    """
    is_size = tf.constant([[True], [False], [False], [False]])
    hidden = is_size & ~is_readable[..., tf.newaxis, tf.newaxis]
    return tf.where(hidden, 0.0, image_info)


def without_unreadable(outputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Sets what was detected in images that are marked as unreadable to zero."""
    info = outputs.get("image_info")
    if info is None:  # with the suppression of TFLite, which takes no files
        return dict(outputs)
    is_readable = tf.reduce_all(info[:, 0] > 0, axis=-1)

    def keep(x: tf.Tensor) -> tf.Tensor:
        shape = tf.concat([tf.shape(x)[:1], tf.ones([x.shape.rank - 1], tf.int32)], 0)
        return tf.where(tf.reshape(is_readable, shape), x, tf.zeros_like(x))

    kept = tf.nest.map_structure(keep, dict(outputs))
    return {**kept, "image_info": info}
