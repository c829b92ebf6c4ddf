"""Which way up a picture file says it is, and turning it, in TensorFlow.

TensorFlow's decoders know nothing of EXIF. The graph of a SavedModel reads the tag as
`libra_tf.data.exif` does, to the last damaged byte.
"""

from __future__ import annotations

import tensorflow as tf

from libra_tf.ops.encoded_file import (
    NOWHERE,
    EncodedFile,
    Part,
    choose,
    find_png_chunk,
    search,
    start_if,
)

_TAG = 0x0112
_EXIF = b"Exif\0\0"
# Bytes of the types of TIFF that a number may have: byte, short, long.
_SIZES = {1: 1, 3: 2, 4: 4}


def exif_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the EXIF orientation of a JPEG, PNG or WebP file.

    Args:
        encoded: string [], the file.

    Returns:
        int64 [], 1 to 8; 1, upright, where there is no tag, or one that cannot be
        understood.
    """
    file = EncodedFile(encoded)
    block = tf.reduce_max([_in_jpeg(file), _in_png(file), _in_webp(file)])
    block += choose(file.has(block, _EXIF), len(_EXIF), 0)
    little, big = (_tag(file, block, order) for order in (True, False))
    value = choose(file.has(block, b"II*\0"), little, 1)
    value = choose(file.has(block, b"MM\0*"), big, value)
    known = (block >= 0) & (value >= 1) & (value <= 8)
    return choose(known, value, 1)


def turn_upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Returns the image as its tag says that it should be shown.

    Args:
        image: [H, W, C].
        orientation: [], 1 to 8; others leave it as it is.

    Returns:
        [H, W, C], or [W, H, C] for 5 to 8.
    """

    def is_one_of(*tags: int) -> tf.Tensor:
        return tf.reduce_any(tf.equal(tf.cast(orientation, tf.int64), tags))

    sideways = is_one_of(5, 6, 7, 8)
    image = tf.cond(sideways, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    image = tf.cond(is_one_of(2, 3, 6, 7), lambda: image[:, ::-1], lambda: image)
    return tf.cond(is_one_of(3, 4, 7, 8), lambda: image[::-1], lambda: image)


def _in_jpeg(file: EncodedFile) -> tf.Tensor:
    return search(file, start_if(file.has(0, b"\xff\xd8"), 2), _jpeg_part)


def _jpeg_part(file: EncodedFile, at: tf.Tensor) -> Part:
    marker = file.number(at + 1, 1)
    ends = (file.number(at, 1) != 0xFF) | tf.reduce_any(marker == [0x00, 0xD9, 0xDA])
    is_exif = (marker == 0xE1) & file.has(at + 4, _EXIF) & ~ends
    alone = (marker == 0x01) | ((marker >= 0xD0) & (marker <= 0xD7))
    size = choose(alone, 2, 2 + file.number(at + 2, 2))
    size = choose(marker == 0xFF, 1, size)  # fills
    return choose(is_exif, at + 4, NOWHERE), ends, size


def _in_png(file: EncodedFile) -> tf.Tensor:
    return find_png_chunk(file, b"eXIf")


def _in_webp(file: EncodedFile) -> tf.Tensor:
    is_webp = file.has(0, b"RIFF") & file.has(8, b"WEBP")
    return search(file, start_if(is_webp, 12), _webp_part)


def _webp_part(file: EncodedFile, at: tf.Tensor) -> Part:
    found = choose(file.has(at, b"EXIF"), at + 8, NOWHERE)
    size = file.number(at + 4, 4, little=True)
    return found, tf.constant(False), 8 + size + size % 2


def _tag(file: EncodedFile, start: tf.Tensor, little: bool) -> tf.Tensor:
    """The orientation in the first directory of a TIFF that begins at `start`."""
    first = start + file.number(start + 4, 4, little)
    count = file.number(first, 2, little)
    at = first + 2 + 12 * tf.range(count)
    kind, value = file.number(at + 2, 2, little), tf.ones_like(at)
    for code, size in _SIZES.items():
        value = choose(kind == code, file.number(at + 8, size, little), value)
    fits = (file.number(at, 2, little) == _TAG) & (file.number(at + 4, 4, little) == 1)
    fits &= tf.reduce_any(kind[:, tf.newaxis] == list(_SIZES), -1)
    # A tag that stands twice counts as it stands last.
    return tf.concat([tf.ones([1], tf.int64), value[fits]], 0)[-1]
