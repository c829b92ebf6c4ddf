"""Reads TFRecord files record by record, on behind a damaged one, which is named.

A record is its length (8 bytes), a checksum of that (4), the bytes, and their checksum
(4). `tf.data` tells of damage by an offset, without file or record, and ends there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

LENGTH_BYTES, CHECKSUM_BYTES = 8, 4
HEADER_BYTES = LENGTH_BYTES + CHECKSUM_BYTES
GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class RecordFault:
    """What is wrong with a file.

    Attributes:
        file: its path.
        record: number of the record in the file, from 0; None: the file as a whole.
        text: what is wrong.
    """

    file: str
    record: int | None
    text: str

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
    while offset < size:
        try:
            content, end = reader.read(offset)
            yield number, content
        except (tf.errors.OpError, IndexError):
            end = _next_offset(path, offset, size)
            if end is None or not (end == size or _is_record(reader, end)):
                yield number, RecordFault(path, number, _why(path, number))
                return
            yield number, RecordFault(path, number, "its checksum is wrong")
        offset, number = end, number + 1


def _next_offset(path: str, offset: int, size: int) -> int | None:
    """Where a record ends by its length, None beyond the file."""
    import tensorflow as tf

    with tf.io.gfile.GFile(path, "rb") as file:
        file.seek(offset)
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    end = offset + HEADER_BYTES + length + CHECKSUM_BYTES
    return end if end <= size else None


class _Reader(Protocol):
    def read(self, offset: int) -> tuple[bytes, int]: ...


def _is_record(reader: _Reader, offset: int) -> bool:
    import tensorflow as tf

    try:
        reader.read(offset)
    except (tf.errors.OpError, IndexError):
        return False
    return True


def _why(path: str, number: int) -> str:
    import tensorflow as tf

    with tf.io.gfile.GFile(path, "rb") as file:
        if file.read(len(GZIP)) == GZIP:
            return "the file is compressed; unpack it (gunzip)"
    if number == 0:
        return "it is cut short, or the file is no TFRecord file"
    return "it is cut short, or its length is damaged; no record after it can be read"
