"""Every layer, of features of any size: finite, images apart, gradients where due.

`property_layers` says how each is made. Numbers are random from fixed seeds; a few
examples run daily, many nightly.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from property_checks import JUNK, NIGHTLY, assert_finite
from property_layers import LAYERS
from tolerances import NETWORK, assert_close

SIZES = [(5, 7), (1, 1), (8, 8), (13, 4), (1, 6)]
# TensorFlow with oneDNN leaves an empty batch the shape that it had before.
EMPTY_BATCHES_CONVOLVE = (
    tf.nn.conv2d(tf.zeros([0, 1, 1, 1]), tf.zeros([1, 1, 1, 2]), 1, "SAME").shape[-1]
    == 2
)


@functools.cache
def layer(name):
    """A layer that is built for inputs of any size."""
    tf_keras.utils.set_random_seed(1)
    return LAYERS[name].make()


def features(name, size, images, seed=0):
    return LAYERS[name].inputs(size, images, np.random.default_rng(seed))


def but_the_largest(names):
    """Names of layers; nightly the one that takes as long as all others."""
    return [
        pytest.param(name, marks=NIGHTLY) if name == "TorchResNet" else name
        for name in names
    ]


def by_level(values):
    """A structure of levels as a dict: of numbers, or of places in a list."""
    if isinstance(values, dict):
        return {int(level): value for level, value in values.items()}
    return dict(enumerate(values if isinstance(values, list) else [values]))


def projected(output):
    """A sum with weights of both signs, so that no gradient cancels."""
    weights = tf.random.stateless_normal(tf.shape(output), (1, 2))
    return tf.reduce_sum(tf.cast(output, tf.float32) * weights)


@pytest.mark.parametrize("name", but_the_largest(LAYERS))
@pytest.mark.parametrize(
    "examples",
    [
        [(SIZES[0], 1e4)],
        pytest.param([(size, 1.0) for size in SIZES], marks=NIGHTLY),
    ],
    ids=["few", "many"],
)
def test_a_layer(name, examples):
    """Shapes and types, finite results, a gradient for every input and weight."""
    case = LAYERS[name]
    for size, scale in examples:
        given = tf.nest.map_structure(
            functools.partial(tf.multiply, scale), features(name, size, 2)
        )
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(given)
            outputs = by_level(layer(name)(given))
            sums = {level: projected(x) for level, x in outputs.items()}
            total = tf.add_n(list(sums.values()))
        assert_finite(outputs)
        inputs = by_level(given)
        for level, output in outputs.items():
            assert output.dtype == tf.float32
            if case.keeps_shape:
                assert output.shape == inputs[level].shape
        weights = layer(name).trainable_weights
        gradients = tape.gradient(total, weights)
        assert None not in gradients
        assert_finite(gradients)
        for level, value in sums.items():
            reached = tape.gradient(value, inputs, unconnected_gradients="zero")
            assert_finite(reached)
            for source, gradient in reached.items():
                is_reached = bool(np.any(gradient))
                assert is_reached == case.reaches(level, source), (level, source)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(
    "sizes", [SIZES[:2], pytest.param(SIZES, marks=NIGHTLY)], ids=["few", "many"]
)
def test_images_do_not_meet_in_a_layer(name, sizes):
    """Junk in one leaves the others, in any order; a batch may be empty."""
    for size, junk in zip(sizes, JUNK, strict=False):
        given = features(name, size, 3)
        expected = by_level(layer(name)(given))
        last = tf.constant([False, False, True])[:, None, None, None]
        spoiled = tf.nest.map_structure(
            functools.partial(tf.where, last, tf.constant(junk, tf.float32)), given
        )
        for level, output in by_level(layer(name)(spoiled)).items():
            np.testing.assert_array_equal(output[:2], expected[level][:2])
        turned = tf.nest.map_structure(lambda x: x[::-1], given)
        for level, output in by_level(layer(name)(turned)).items():
            assert_close(output[::-1], expected[level], of=NETWORK)
        if EMPTY_BATCHES_CONVOLVE:
            for level, output in by_level(layer(name)(features(name, size, 0))).items():
                assert output.shape == [0, *expected[level].shape[1:]]


@pytest.mark.parametrize(
    "name", but_the_largest({x.split(",")[0]: x for x in LAYERS}.values())
)
def test_a_layer_keeps_the_type_of_mixed_precision(name):
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        made = LAYERS[name].make()
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    outputs = made(features(name, (5, 7), 2))
    assert {x.dtype for x in tf.nest.flatten(outputs)} == {tf.bfloat16}
    assert {x.dtype for x in made.trainable_weights} <= {tf.float32}
    assert_finite(tf.nest.map_structure(lambda x: tf.cast(x, tf.float32), outputs))
