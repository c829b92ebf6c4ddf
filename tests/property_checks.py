"""Shapes, junk and checks that the properties of all rooms share."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

JUNK = (np.nan, np.inf, -np.inf, 1e38, -1e38)
SHAPES = ((2, 7), (1, 1), (3, 33), (1, 0), (0, 4), (2, 1), (1, 64))
SEED = tf.constant([3, 5])
NIGHTLY = pytest.mark.nightly


def few_or(many, few):
    """The number of examples: daily `few`, nightly `many`."""
    return pytest.mark.parametrize(
        "count", [few, pytest.param(many, marks=NIGHTLY)], ids=["few", "many"]
    )


def assert_finite(*values):
    for value in tf.nest.flatten(values):
        assert np.isfinite(np.asarray(value)).all(), value


def assert_same(actual, expected):
    tf.nest.assert_same_structure(actual, expected)
    for one, other in zip(*map(tf.nest.flatten, (actual, expected)), strict=True):
        np.testing.assert_array_equal(one, other)
