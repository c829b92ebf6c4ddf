"""The bytes of an image file as tensors, in the graph of a SavedModel.

Numbers and parts of a file are read as `libra_tf.data.exif` reads them, to the last
damaged byte.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

PNG = b"\x89PNG\r\n\x1a\n"
NOWHERE = -1
# Parts of a file that are looked at; a picture has some tens.
_MAX_PARTS = 10_000

# What is at a place of the file: where the wanted data begin (or `NOWHERE`), whether
# the search ends here, and how far it is to the next part.
Part = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


def choose(condition: tf.Tensor, then: Any, otherwise: Any) -> tf.Tensor:
    """`tf.where` of whole numbers, of 64 bits so that no length overflows."""
    then, otherwise = (tf.cast(x, tf.int64) for x in (then, otherwise))
    return tf.where(condition, then, otherwise)


class EncodedFile:
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


def search(file: EncodedFile, first: tf.Tensor, read: Callable[..., Part]) -> tf.Tensor:
    """Goes from part to part of a file.

    Args:
        file: to be looked through.
        first: int64 [], where its first part begins, or `NOWHERE`.
        read: what is at a place, see `Part`.

    Returns:
        int64 [], what `read` found first, or `NOWHERE`.
    """

    def go_on(at: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return (at >= 0) & (at < file.size)

    def step(at: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        found, ends, size = read(file, at)
        return choose(ends | (found >= 0), NOWHERE, at + size), found

    nowhere = tf.constant(NOWHERE, tf.int64)
    return tf.while_loop(go_on, step, (first, nowhere), maximum_iterations=_MAX_PARTS)[
        1
    ]


def start_if(is_kind: tf.Tensor, at: int) -> tf.Tensor:
    """Returns `at` if a file is of the kind whose parts begin there, else `NOWHERE`."""
    return choose(is_kind, at, NOWHERE)


def find_png_chunk(file: EncodedFile, name: bytes) -> tf.Tensor:
    """Returns where the content of a chunk begins, int64 []; `NOWHERE` without it.

    Args:
        file: of any kind; only a PNG has chunks.
        name: of the chunk, four letters.
    """

    def read(file: EncodedFile, at: tf.Tensor) -> Part:
        found = choose(file.has(at + 4, name), at + 8, NOWHERE)
        return found, tf.constant(False), 12 + file.number(at, 4)

    return search(file, start_if(file.has(0, PNG), len(PNG)), read)
