"""losses.focal: the paper's values, and gradients that are always finite."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf.losses.focal import FocalLoss, focal

# Logit, label, value and gradient for alpha 0.25 and gamma 2, value for gamma 1.5.
TABLE = np.array(
    [
        [0, 1, 0.043321699, -0.074571699, 0.061266134],
        [0, 0, 0.129965096, 0.223715096, 0.183798402],
        [2, 1, 0.000450891, -0.001217735, np.nan],
        [2, 0, 1.237558635, 0.807535298, 1.318644878],
        [-4.59512, 1, 1.128381865, np.nan, np.nan],
    ]
)
HUGE = np.float32([-3e38, -1e30, -1e4, -200, -89, 0, 89, 200, 1e4, 1e30, 3e38])


def loss_and_gradient(y, x, **kwargs):
    x = tf.convert_to_tensor(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = focal(y, x, **kwargs)
    return loss.numpy(), tape.gradient(loss, x).numpy()


def formula(y, x, alpha=0.25, gamma=2.0):
    """Value and gradient in float64, from p."""
    p_t = 1 / (1 + np.exp(-np.where(y == 1, x, -np.float64(x))))
    alpha_t = np.where(y == 1, alpha, 1 - alpha)
    value = alpha_t * (1 - p_t) ** gamma * -np.log(p_t)
    slope = alpha_t * (1 - p_t) ** gamma * (gamma * p_t * np.log(p_t) + p_t - 1)
    return value, np.where(y == 1, slope, -slope)


def assert_equal_where_given(actual, expected):
    given = ~np.isnan(expected)
    np.testing.assert_allclose(actual[given], expected[given], rtol=2e-6)


def test_table():
    x, y, value, slope, value_15 = TABLE.T
    loss, gradient = loss_and_gradient(y, x)
    assert_equal_where_given(loss, value)
    assert_equal_where_given(gradient, slope)
    assert_equal_where_given(loss_and_gradient(y, x, gamma=1.5)[0], value_15)


def test_an_easy_negative_of_the_prior():
    for gamma, expected in ((2.0, 7.54e-7), (1.5, 7.538e-6)):
        loss, _ = loss_and_gradient([0.0], [-4.59512], gamma=gamma)
        np.testing.assert_allclose(loss, expected, rtol=1e-3)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 1.5, 5.0])
@pytest.mark.parametrize("y", [0.0, 1.0])
def test_formula(y, alpha, gamma):
    x = np.linspace(-12, 12, 97).astype(np.float32)
    y = np.full_like(x, y)
    actual = loss_and_gradient(y, x, alpha=alpha, gamma=gamma)
    expected = formula(y, x, alpha, gamma)
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-5, atol=1e-30)
    np.testing.assert_allclose(actual[1], expected[1], rtol=1e-5, atol=1e-30)


def test_gamma_zero_is_weighted_cross_entropy():
    x = tf.linspace(-30.0, 30.0, 61)
    y = tf.cast(tf.range(61) % 2, tf.float32)
    expected = tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=x)
    expected *= tf.where(y == 1, 0.25, 0.75)
    loss, _ = loss_and_gradient(y, x, gamma=0)
    assert_close(loss, expected, of=ELEMENTWISE)


def test_it_is_the_loss_of_model_garden():
    losses = pytest.importorskip("official.vision.losses.focal_loss")
    x = tf.random.stateless_normal([4, 9, 5], (1, 2)) * 3
    y = tf.cast(tf.random.stateless_uniform([4, 9, 5], (3, 4)) < 0.2, tf.float32)
    theirs = losses.FocalLoss(alpha=0.25, gamma=1.5, reduction="none")(y, x)
    np.testing.assert_allclose(focal(y, x, gamma=1.5), theirs, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 1.0, 2.0, 8.0])
@pytest.mark.parametrize("y", [0.0, 1.0])
def test_huge_logits(y, gamma, jit_compile):
    compiled = tf.function(loss_and_gradient_graph, jit_compile=jit_compile)
    loss, gradient = compiled(tf.fill(HUGE.shape, y), tf.constant(HUGE), gamma)
    alpha_t, sign = (0.25, -1) if y else (0.75, 1)
    wrong = sign * HUGE
    assert np.all(np.isfinite(loss))
    assert_close(loss.numpy()[wrong >= 89], alpha_t * wrong[wrong >= 89], of=REDUCTION)
    assert_close(gradient.numpy()[wrong >= 89], alpha_t * sign, of=REDUCTION)
    np.testing.assert_allclose(gradient.numpy()[wrong <= -89], 0, atol=1e-30)


def loss_and_gradient_graph(y, x, gamma):
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = focal(y, x, gamma=gamma)
    return loss, tape.gradient(loss, x)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("y", [0.0, 1.0])
def test_gradient_against_finite_differences(y, gamma):
    x = np.float32([-3, -1.2, -0.1, 0.4, 2.2])
    y = np.full_like(x, y)
    high, _ = loss_and_gradient(y, x + 0.01, gamma=gamma)
    low, _ = loss_and_gradient(y, x - 0.01, gamma=gamma)
    _, gradient = loss_and_gradient(y, x, gamma=gamma)
    np.testing.assert_allclose(gradient, (high - low) / 0.02, rtol=2e-3, atol=1e-5)


def test_no_boxes():
    loss, gradient = loss_and_gradient(tf.zeros([2, 0, 5]), tf.zeros([2, 0, 5]))
    assert loss.shape == gradient.shape == (2, 0, 5)


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_half_types_are_computed_in_float32(dtype):
    x = tf.cast(tf.linspace(-9.0, 9.0, 33), dtype)
    y = tf.cast(tf.range(33) % 2, dtype)
    loss = focal(y, x)
    assert loss.dtype == tf.float32
    wide, _ = loss_and_gradient(tf.cast(y, tf.float32), tf.cast(x, tf.float32))
    np.testing.assert_array_equal(loss, wide)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla(jit_compile):
    x = tf.linspace(-20.0, 20.0, 81)
    y = tf.cast(tf.range(81) % 2, tf.float32)
    traced = tf.function(focal, jit_compile=jit_compile)
    assert_close(traced(y, x), focal(y, x), of=REDUCTION)


def test_class_sums_the_classes_and_weights_the_boxes():
    y = tf.constant([[[1.0, 0.0], [0.0, 0.0]]])
    x = tf.constant([[[0.0, 0.0], [2.0, 0.0]]])
    expected = [0.043321699 + 0.129965096, 1.237558635 + 0.129965096]
    sums = FocalLoss(reduction="none")(y, x)
    assert_close(sums, [expected], of=ELEMENTWISE)
    weight = tf.constant([[2.0, 0.0]])
    weighted = FocalLoss(reduction="sum")(y, x, sample_weight=weight)
    assert_close(weighted, 2 * expected[0], of=ELEMENTWISE)


def test_class_comes_back_from_its_config():
    loss = FocalLoss(0.5, 1.5, reduction="sum", name="classes")
    restored = tf_keras.losses.deserialize(tf_keras.losses.serialize(loss))
    assert isinstance(restored, FocalLoss)
    assert restored.get_config() == loss.get_config()
    x = tf.constant([[0.05, 1.0]])
    y = tf.constant([[0.0, 1.0]])
    np.testing.assert_array_equal(restored(y, x), loss(y, x))
    expected = focal(y, x, alpha=0.5, gamma=1.5)
    np.testing.assert_allclose(loss(y, x), tf.reduce_sum(expected))


def test_messages():
    for build in (lambda **kwargs: focal([0.0], [0.0], **kwargs), FocalLoss):
        for value in (-0.1, 1.1, math.nan):
            with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\], got"):
                build(alpha=value)
        for value in (-1.0, math.inf, math.nan):
            with pytest.raises(ValueError, match=r"gamma must be in \[0, 100.0\], got"):
                build(gamma=value)
    with pytest.raises(ValueError, match=r"\(2, 4\) and \(2, 1\)"):
        focal(tf.zeros([2, 4]), tf.zeros([2, 1]))
