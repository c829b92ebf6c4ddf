"""Writes `tf.train.Example` bytes without TensorFlow.

The worker processes of a conversion make examples; importing TensorFlow would cost
each of them seconds and half a gigabyte. The format is three levels of
length-delimited protobuf fields (tensorflow/core/example/feature.proto):

    Example.features = 1; Features.feature = map<string, Feature> = 1
    Feature: bytes_list = 1 | float_list = 2 | int64_list = 3; each list's value = 1
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

LENGTH_DELIMITED = 2


def encode_example(features: Mapping[str, bytes]) -> bytes:
    """Returns a serialised Example; equal features give equal bytes.

    Args:
        features: name -> what `bytes_feature`, `float_feature` or `int64_feature` gave.
    """
    entries = (
        _field(1, _field(1, name.encode()) + _field(2, features[name]))
        for name in sorted(features)
    )
    return _field(1, b"".join(entries))


def bytes_feature(values: Iterable[bytes]) -> bytes:
    """Returns a Feature with a list of byte strings."""
    return _field(1, b"".join(_field(1, value) for value in values))


def float_feature(values: Iterable[float]) -> bytes:
    """Returns a Feature with a packed list of float32."""
    values = list(values)
    return _field(2, _field(1, struct.pack(f"<{len(values)}f", *values)))


def int64_feature(values: Iterable[int]) -> bytes:
    """Returns a Feature with a packed list of int64."""
    return _field(3, _field(1, b"".join(map(_varint, values))))


def _field(number: int, payload: bytes) -> bytes:
    tag = bytes([number << 3 | LENGTH_DELIMITED])
    return b"".join((tag, _varint(len(payload)), payload))


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
