"""Which way up a picture file says it is, and turning it, in TensorFlow.

TensorFlow's decoders know nothing of EXIF. The graph of a SavedModel reads the tag as
`libra_tf.data.exif` does, to the last damaged byte.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

_MAX_PARTS = 10_000
_TAG = 0x0112
_EXIF = b"Exif\0\0"
# Bytes of the types of TIFF that a number may have: byte, short, long.
_SIZES = {1: 1, 3: 2, 4: 4}
_NOWHERE = -1

# What is at a place of the file: where EXIF data begin (or `_NOWHERE`), whether the
# search ends here, and how far it is to the next part.
Part = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


def exif_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the EXIF orientation of a JPEG, PNG or WebP file.

    Args:
        encoded: string [], the file.

    Returns:
        int64 [], 1 to 8; 1, upright, where there is no tag, or one that cannot be
        understood.
    """
    file = _File(encoded)
    block = tf.reduce_max([_in_jpeg(file), _in_png(file), _in_webp(file)])
    block += _choose(file.has(block, _EXIF), len(_EXIF), 0)
    little, big = (_tag(file, block, order) for order in (True, False))
    value = _choose(file.has(block, b"II*\0"), little, 1)
    value = _choose(file.has(block, b"MM\0*"), big, value)
    known = (block >= 0) & (value >= 1) & (value <= 8)
    return _choose(known, value, 1)


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


def _choose(condition: tf.Tensor, then: Any, otherwise: Any) -> tf.Tensor:
    """`tf.where` of whole numbers, of 64 bits so that no length overflows."""
    then, otherwise = (tf.cast(x, tf.int64) for x in (then, otherwise))
    return tf.where(condition, then, otherwise)


class _File:
    """A file's bytes; those after its end are 0."""

    def __init__(self, encoded: tf.Tensor):
        self._bytes = tf.io.decode_raw(tf.strings.join([encoded, b"\0"]), tf.uint8)
        self.size = tf.size(self._bytes, tf.int64) - 1

    def take(self, at: tf.Tensor, count: int) -> tf.Tensor:
        """Returns `count` bytes from each of `at` [...], int64 [..., count]."""
        at = tf.cast(at, tf.int64)
        index = at[..., tf.newaxis] + tf.range(count, dtype=tf.int64)
        taken = tf.gather(self._bytes, tf.clip_by_value(index, 0, self.size))
        return tf.cast(taken, tf.int64)

    def number(self, at: tf.Tensor, size: int, little: bool = False) -> tf.Tensor:
        """Returns whole numbers, int64 as `at`."""
        powers = [256**k for k in range(size)]
        powers = powers if little else powers[::-1]
        return tf.reduce_sum(self.take(at, size) * tf.constant(powers, tf.int64), -1)

    def has(self, at: tf.Tensor, text: bytes) -> tf.Tensor:
        """Returns whether `text` stands at `at`."""
        return tf.reduce_all(self.take(at, len(text)) == list(text), -1)


def _search(file: _File, first: tf.Tensor, read: Callable[..., Part]) -> tf.Tensor:
    """Goes from part to part; returns where the EXIF data begin, or `_NOWHERE`."""

    def go_on(at: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return (at >= 0) & (at < file.size)

    def step(at: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        found, ends, size = read(file, at)
        return _choose(ends | (found >= 0), _NOWHERE, at + size), found

    nowhere = tf.constant(_NOWHERE, tf.int64)
    return tf.while_loop(go_on, step, (first, nowhere), maximum_iterations=_MAX_PARTS)[
        1
    ]


def _start(is_kind: tf.Tensor, at: int) -> tf.Tensor:
    return _choose(is_kind, at, _NOWHERE)


def _in_jpeg(file: _File) -> tf.Tensor:
    return _search(file, _start(file.has(0, b"\xff\xd8"), 2), _jpeg_part)


def _jpeg_part(file: _File, at: tf.Tensor) -> Part:
    marker = file.number(at + 1, 1)
    ends = (file.number(at, 1) != 0xFF) | tf.reduce_any(marker == [0x00, 0xD9, 0xDA])
    is_exif = (marker == 0xE1) & file.has(at + 4, _EXIF) & ~ends
    alone = (marker == 0x01) | ((marker >= 0xD0) & (marker <= 0xD7))
    size = _choose(alone, 2, 2 + file.number(at + 2, 2))
    size = _choose(marker == 0xFF, 1, size)  # fills
    return _choose(is_exif, at + 4, _NOWHERE), ends, size


def _in_png(file: _File) -> tf.Tensor:
    return _search(file, _start(file.has(0, b"\x89PNG\r\n\x1a\n"), 8), _png_part)


def _png_part(file: _File, at: tf.Tensor) -> Part:
    found = _choose(file.has(at + 4, b"eXIf"), at + 8, _NOWHERE)
    return found, tf.constant(False), 12 + file.number(at, 4)


def _in_webp(file: _File) -> tf.Tensor:
    is_webp = file.has(0, b"RIFF") & file.has(8, b"WEBP")
    return _search(file, _start(is_webp, 12), _webp_part)


def _webp_part(file: _File, at: tf.Tensor) -> Part:
    found = _choose(file.has(at, b"EXIF"), at + 8, _NOWHERE)
    size = file.number(at + 4, 4, little=True)
    return found, tf.constant(False), 8 + size + size % 2


def _tag(file: _File, start: tf.Tensor, little: bool) -> tf.Tensor:
    """The orientation in the first directory of a TIFF that begins at `start`."""
    first = start + file.number(start + 4, 4, little)
    count = file.number(first, 2, little)
    at = first + 2 + 12 * tf.range(count)
    kind, value = file.number(at + 2, 2, little), tf.ones_like(at)
    for code, size in _SIZES.items():
        value = _choose(kind == code, file.number(at + 8, size, little), value)
    fits = (file.number(at, 2, little) == _TAG) & (file.number(at + 4, 4, little) == 1)
    fits &= tf.reduce_any(kind[:, tf.newaxis] == list(_SIZES), -1)
    # A tag that stands twice counts as it stands last.
    return tf.concat([tf.ones([1], tf.int64), value[fits]], 0)[-1]
