"""ops.resize: windows and indices of the reference at sizes that do not divide."""

import math

import numpy as np
import pytest
import tensorflow as tf
from tolerances import ELEMENTWISE, assert_close

from libra_tf.ops.resize import adaptive_max_pool, nearest_resize

SIZES = [
    ((8, 12), (4, 6)),
    ((5, 5), (3, 3)),
    ((50, 21), (13, 21)),
    ((7, 11), (4, 6)),
    ((3, 4), (3, 4)),
    ((13, 9), (1, 1)),
]


def features(size, batch=2, dtype=tf.float32):
    rng = np.random.default_rng(0)
    return tf.constant(rng.normal(size=(batch, *size, 3)), dtype)


def pool_by_definition(x, size):
    (h, w), (n, m) = x.shape[1:3], size
    rows = [(i * h // n, math.ceil((i + 1) * h / n)) for i in range(n)]
    columns = [(j * w // m, math.ceil((j + 1) * w / m)) for j in range(m)]
    return np.stack(
        [
            np.stack([x[:, a:b, c:d].max((1, 2)) for c, d in columns], 1)
            for a, b in rows
        ],
        1,
    )


@pytest.mark.parametrize(("source", "size"), SIZES)
def test_adaptive_max_pool_windows(source, size):
    x = features(source)
    expected = pool_by_definition(x.numpy(), size)
    np.testing.assert_array_equal(adaptive_max_pool(x, size), expected)


@pytest.mark.parametrize(("size", "source"), SIZES)
def test_nearest_indices(size, source):
    x = features(source)
    rows = np.arange(size[0]) * source[0] // size[0]
    columns = np.arange(size[1]) * source[1] // size[1]
    expected = x.numpy()[:, rows][:, :, columns]
    np.testing.assert_array_equal(nearest_resize(x, size), expected)


def test_nearest_of_the_fact_that_tf_image_resize_differs():
    x = tf.reshape(tf.range(3.0), [1, 3, 1, 1])
    ours = nearest_resize(x, (5, 1))[0, :, 0, 0]
    np.testing.assert_array_equal(ours, [0, 0, 1, 1, 2])
    theirs = tf.image.resize(x, (5, 1), "nearest")[0, :, 0, 0]
    np.testing.assert_array_equal(theirs, [0, 0, 1, 2, 2])


RESIZES = [
    lambda x: adaptive_max_pool(x, (2, 3)),
    lambda x: adaptive_max_pool(x, (4, 5)),
    lambda x: nearest_resize(x, (8, 12)),
    lambda x: nearest_resize(x, (5, 7)),
]


@pytest.mark.parametrize("resize", RESIZES)
def test_gradient_against_finite_differences(resize):
    rng = np.random.default_rng(1)
    # A permutation: no two values nearer than 1, so no maximum changes its place.
    x = tf.constant(rng.permutation(4 * 6).reshape(1, 4, 6, 1), tf.float64)
    weights = tf.constant(rng.normal(size=resize(x).shape))
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(resize(x) * weights)
    gradient = tape.gradient(total, x).numpy()
    for i in range(24):
        step = np.zeros(24)
        step[i] = 0.1
        moved = resize(x + step.reshape(x.shape))
        slope = (tf.reduce_sum(moved * weights) - total) / 0.1
        assert_close(gradient.flat[i], slope, of=ELEMENTWISE, scale=1.0)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_xla_and_unknown_batch(resize, jit_compile):
    def with_gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(resize(x) ** 2)
        return resize(x), tape.gradient(total, x)

    spec = [tf.TensorSpec([None, 4, 6, 3], tf.float32)]
    traced = tf.function(with_gradient, spec, jit_compile=jit_compile)
    x = features((4, 6))
    for expected, actual in zip(with_gradient(x), traced(x), strict=True):
        assert_close(actual, expected, of=ELEMENTWISE)
    static = traced.get_concrete_function().output_shapes[0]
    assert static.as_list() == [None, *resize(x).shape[1:]]


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_half_types(resize, dtype):
    x = features((4, 6), dtype=dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = resize(x)
    assert y.dtype == dtype
    wide = resize(tf.cast(x, tf.float32))
    np.testing.assert_array_equal(tf.cast(y, tf.float32), wide)
    assert np.all(np.isfinite(tf.cast(tape.gradient(y, x), tf.float32)))


def test_a_batch_equals_its_images():
    x = features((7, 11), batch=3)
    singles = [adaptive_max_pool(x[i : i + 1], (4, 6)) for i in range(3)]
    np.testing.assert_array_equal(
        adaptive_max_pool(x, (4, 6)), tf.concat(singles, axis=0)
    )


@pytest.mark.parametrize("resize", [adaptive_max_pool, nearest_resize])
def test_messages(resize):
    with pytest.raises(ValueError, match="at least 1 by 1, got"):
        resize(features((4, 6)), (0, 2))
    with pytest.raises(ValueError, match=r"got \(4, 6, 3\)"):
        resize(features((4, 6))[0], (2, 2))


@pytest.mark.parametrize("resize", [adaptive_max_pool, nearest_resize])
@pytest.mark.parametrize("size", [(4, 6), (2, 3), (3, 4), (1, 1), (8, 12), (5, 7)])
def test_unknown_sizes(resize, size):
    @tf.function(
        input_signature=[
            tf.TensorSpec([2, None, None, 3]),
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([], tf.int32),
        ]
    )
    def unknown(x, height, width):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = resize(x, (height, width))
            total = tf.reduce_sum(y**2)
        return y, tape.gradient(total, x)

    x = features((4, 6), batch=2)
    with tf.GradientTape() as tape:
        tape.watch(x)
        expected = resize(x, size)
        total = tf.reduce_sum(expected**2)
    y, gradient = unknown(x, *size)
    np.testing.assert_array_equal(y, expected)
    assert_close(gradient, tape.gradient(total, x), of=ELEMENTWISE)


def test_nearest_rounds_its_factor_as_pytorch():
    """float32(50 / 198) * 99 is below 25."""
    x = tf.range(50.0)[tf.newaxis, :, tf.newaxis, tf.newaxis]
    taken = nearest_resize(x, (198, 1))[0, :, 0, 0].numpy()
    exact = np.arange(198) * 50 // 198
    assert np.flatnonzero(taken != exact).tolist() == [99]
    assert taken[99] == 24
