"""PNG files of 16 bits, of which cameras use 10, 12 or 14, scaled to 8 in TensorFlow.

The graph of a SavedModel scales them as `libra_tf.data.depth` does.
"""

from __future__ import annotations

import tensorflow as tf

from libra_tf.ops.encoded_file import PNG, EncodedFile, choose, find_png_chunk

# What is assumed where the file does not declare its depth.
_DEPTHS = (8, 10, 12, 14, 16)
_FULL = 16
_SIGNIFICANT_BITS = b"sBIT"
_DEPTH_BYTE = 24


def is_deep_png(encoded: tf.Tensor) -> tf.Tensor:
    """Whether a file, string [], is a PNG of 16 bits a channel: `bool` []."""
    file = EncodedFile(encoded)
    depth = file.number(tf.constant(_DEPTH_BYTE), 1)
    return file.has(tf.constant(0), PNG) & (depth == _FULL)


def decode_deep_png(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes a PNG of 16 bits and scales it by the bits that it uses.

    Those that its chunk sBIT declares, if they hold its brightest value; without that
    chunk the fewest of 8, 10, 12, 14 and 16 that hold it; else 16.

    Args:
        encoded: string [], the file.

    Returns:
        uint8 [H, W, 3]; grey is repeated, transparency dropped.
    """
    pixels = tf.cast(tf.io.decode_png(encoded, channels=3, dtype=tf.uint16), tf.int32)
    brightest = tf.cast(tf.reduce_max(pixels), tf.int64)
    depths = tf.constant(_DEPTHS, tf.int64)
    fits = brightest < tf.bitwise.left_shift(tf.ones_like(depths), depths)
    needed = tf.reduce_min(tf.where(fits, depths, _FULL))
    declared = _declared(EncodedFile(encoded))
    is_held = brightest < tf.bitwise.left_shift(tf.constant(1, tf.int64), declared)
    bits = choose(declared > 0, choose(is_held, declared, _FULL), needed)
    shift = tf.cast(bits - _DEPTHS[0], tf.int32)
    return tf.cast(tf.bitwise.right_shift(pixels, shift), tf.uint8)


def _declared(file: EncodedFile) -> tf.Tensor:
    """Bits that sBIT declares, 8 to 16: int64 []; 0 without that chunk."""
    start = find_png_chunk(file, _SIGNIFICANT_BITS)
    size = file.number(start - 8, 4)
    is_value = tf.range(4, dtype=tf.int64) < size
    values = tf.where(is_value, file.take(start, 4), 0)
    declared = choose(size > 0, tf.reduce_max(values), _FULL)
    return choose(start < 0, 0, tf.clip_by_value(declared, _DEPTHS[0], _FULL))
