"""How many pixels an image file says that it has, before any of them is decoded.

A file of a few kilobytes can hold hundreds of millions of equal pixels.
"""

from __future__ import annotations

import tensorflow as tf

from libra_tf.ops.encoded_file import NOWHERE, PNG, EncodedFile, choose

_JPEG = b"\xff\xd8\xff"
_MASK_14_BITS = 0x3FFF


def num_pixels(encoded: tf.Tensor) -> tf.Tensor:
    """Returns width times height of a JPEG, PNG, GIF, BMP or WebP file.

    Args:
        encoded: string [], the file.

    Returns:
        int64 []; 0 for a file of another kind.

    Raises:
        tf.errors.InvalidArgumentError: it is a JPEG without a header.
    """
    file = EncodedFile(encoded)
    sizes = [_of_png(file), _of_gif(file), _of_bmp(file), _of_webp(file)]
    others = tf.reduce_max(tf.stack(sizes))
    return tf.cond(
        file.has(tf.constant(0), _JPEG), lambda: _of_jpeg(encoded), lambda: others
    )


def is_webp(encoded: tf.Tensor) -> tf.Tensor:
    """Returns whether a file [] is a WebP picture, bool []."""
    return _is_webp(EncodedFile(encoded))


def _is_webp(file: EncodedFile) -> tf.Tensor:
    return _has(file, 0, b"RIFF") & _has(file, 8, b"WEBP")


def _of_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    shape = tf.cast(tf.io.extract_jpeg_shape(encoded), tf.int64)
    return shape[0] * shape[1]


def _number(file: EncodedFile, at: int, size: int, little: bool = True) -> tf.Tensor:
    return file.number(tf.constant(at), size, little)


def _has(file: EncodedFile, at: int, text: bytes) -> tf.Tensor:
    return file.has(tf.constant(at), text)


def _of_png(file: EncodedFile) -> tf.Tensor:
    pixels = _number(file, 16, 4, little=False) * _number(file, 20, 4, little=False)
    # Two sides of 32 bits can overflow; no decoder takes such.
    return choose(_has(file, 0, PNG), tf.where(pixels < 0, tf.int64.max, pixels), 0)


def _of_gif(file: EncodedFile) -> tf.Tensor:
    """Of all frames together: the decoder unpacks every one and gives the first."""
    packed = _number(file, 10, 1)
    start = choose(_has(file, 0, b"GIF8"), 13 + _color_table(packed), NOWHERE)
    nothing = tf.constant(0, tf.int64)

    def go_on(at: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        return (at >= 0) & (at < file.size)

    def step(
        at: tf.Tensor, in_data: tf.Tensor, pixels: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        byte = file.number(at, 1)
        is_frame, is_extension = (~in_data & (byte == code) for code in (0x2C, 0x21))
        area = file.number(at + 5, 2, little=True) * file.number(at + 7, 2, little=True)
        table = _color_table(file.number(at + 9, 1))
        # Data are blocks that tell their size, up to one of size 0.
        size = choose(in_data, 1 + byte, choose(is_frame, 11 + table, 2))
        known = in_data | is_frame | is_extension
        return (
            choose(known, at + size, NOWHERE),
            choose(in_data, byte, 1) > 0,
            pixels + choose(is_frame, area, 0),
        )

    state = start, tf.constant(False), nothing
    frames = tf.while_loop(go_on, step, state)[2]
    screen = choose(start < 0, 0, _number(file, 6, 2) * _number(file, 8, 2))
    return tf.maximum(frames, screen)


def _color_table(packed: tf.Tensor) -> tf.Tensor:
    """Bytes of a colour table that a GIF's flags announce."""
    low = tf.bitwise.bitwise_and(packed, tf.constant(7, tf.int64))
    size = 3 * tf.bitwise.left_shift(tf.ones_like(low), low + 1)
    return choose(packed >= 0x80, size, 0)


def _of_bmp(file: EncodedFile) -> tf.Tensor:
    width, height = _number(file, 18, 4), _number(file, 22, 4)
    # Rows from the top have a negative height.
    height = tf.minimum(height, 2**32 - height)
    return choose(_has(file, 0, b"BM"), width * height, 0)


def _of_webp(file: EncodedFile) -> tf.Tensor:
    """By the first chunk: VP8X (canvas), VP8 (lossy) or VP8L (lossless)."""
    canvas = (1 + _number(file, 24, 3)) * (1 + _number(file, 27, 3))
    lossy = _low_bits(_number(file, 26, 2)) * _low_bits(_number(file, 28, 2))
    packed = _number(file, 21, 4)
    width = 1 + _low_bits(packed)
    lossless = width * (1 + _low_bits(tf.bitwise.right_shift(packed, 14)))
    pixels = choose(_has(file, 12, b"VP8X"), canvas, lossy)
    pixels = choose(_has(file, 12, b"VP8L"), lossless, pixels)
    return choose(_is_webp(file), pixels, 0)


def _low_bits(number: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.bitwise_and(number, tf.constant(_MASK_14_BITS, tf.int64))
