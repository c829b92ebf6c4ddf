"""Reads TFRecord files record by record, on behind a damaged one, which is named.

A record is its length (8 bytes), a checksum of that (4), the bytes, and their checksum
(4). `tf.data` tells of damage by an offset, without file or record, and ends there.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

LENGTH_BYTES, CHECKSUM_BYTES = 8, 4
HEADER_BYTES = LENGTH_BYTES + CHECKSUM_BYTES
GZIP = b"\x1f\x8b"


class Damage(str, enum.Enum):
    """What is wrong with a record.

    Attributes:
        CONTENT: its bytes do not have their checksum; where it ends is known.
        LENGTH: its length does not have its checksum; nothing tells where it ends.
        TORN: the file ends within it.
    """

    CONTENT = "content"
    LENGTH = "length"
    TORN = "torn"


@dataclass(frozen=True)
class RecordFault:
    """What is wrong with a file.

    Attributes:
        file: its path.
        record: number of the record in the file, from 0; None: the file as a whole.
        text: what is wrong.
        damage: of a record that cannot be read at all.
    """

    file: str
    record: int | None
    text: str
    damage: Damage | None = None

    def __str__(self) -> str:
        where = "" if self.record is None else f": record {self.record}"
        return f"{self.file}{where}: {self.text}"


def read_records(path: str) -> Iterator[tuple[int, bytes | RecordFault]]:
    """Yields number and content of each record, or what is wrong with it.

    Where the length of a record is broken too, nothing tells where the next begins: its
    fault is the last that is yielded.

    Args:
        path: of a file that is not compressed, on any of TensorFlow's file systems.
    """
    import tensorflow as tf
    from tensorflow.python.lib.io.tf_record import tf_record_random_reader

    size = tf.io.gfile.stat(path).length
    reader = tf_record_random_reader(path)
    offset = number = 0
    with tf.io.gfile.GFile(path, "rb") as file:
        while offset < size:
            # TensorFlow makes room for any length before it looks whether the file has
            # it; a huge one, with the right checksum, ends the process.
            end = _end(file, offset, size)
            if isinstance(end, Damage):
                yield number, RecordFault(path, number, _why(path, number), end)
                return
            try:
                yield number, reader.read(offset)[0]
            except (tf.errors.OpError, IndexError):
                text = "its checksum is wrong"
                yield number, RecordFault(path, number, text, Damage.CONTENT)
            offset, number = end, number + 1


def _end(file: tf.io.gfile.GFile, offset: int, size: int) -> int | Damage:
    """Where a record ends by its length, or why nobody knows."""
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    file.seek(offset)
    header = file.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return Damage.TORN
    length, checksum = header[:LENGTH_BYTES], header[LENGTH_BYTES:]
    if masked_crc32c(length) != int.from_bytes(checksum, "little"):
        return Damage.LENGTH
    end = offset + HEADER_BYTES + int.from_bytes(length, "little") + CHECKSUM_BYTES
    return end if end <= size else Damage.TORN


def _why(path: str, number: int) -> str:
    import tensorflow as tf

    with tf.io.gfile.GFile(path, "rb") as file:
        if file.read(len(GZIP)) == GZIP:
            return "the file is compressed; unpack it (gunzip)"
    if number == 0:
        return "it is cut short, or the file is no TFRecord file"
    return "it is cut short, or its length is damaged; no record after it can be read"
