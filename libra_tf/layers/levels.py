"""The levels of a pyramid: dicts keyed by numbers as strings, as Model Garden's."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf


def sorted_levels(levels: Mapping[str, object]) -> list[str]:
    """Keys in order of number: "10" comes after "9"."""
    if not all(isinstance(level, str) and level.isdecimal() for level in levels):
        raise ValueError(
            f'levels must be numbers as strings ("3", "4"), got {list(levels)}'
        )
    if len(levels) < 2:
        raise ValueError(f"a pyramid needs at least two levels, got {list(levels)}")
    return sorted(levels, key=int)


def common_channels(shapes: Mapping[str, tf.TensorShape]) -> int:
    """The channels that all levels have."""
    channels = {
        level: tf.TensorShape(shapes[level])[-1] for level in sorted_levels(shapes)
    }
    if None in channels.values() or len(set(channels.values())) != 1:
        raise ValueError(
            f"all levels must have the same known channels, got {channels}"
        )
    return next(iter(channels.values()))
