"""losses.smooth_l1: values, gradients, and the relation to Huber and L1."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf.losses import l1, smooth_l1


def loss_and_gradient(function, x, **kwargs):
    x = tf.convert_to_tensor(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = function(tf.zeros_like(x), x, **kwargs)
    return loss.numpy(), tape.gradient(loss, x).numpy()


def test_hand_values():
    loss, gradient = loss_and_gradient(smooth_l1, [0, 0.5, -0.5, 1, -3])
    np.testing.assert_allclose(loss, [0, 0.125, 0.125, 0.5, 2.5])
    np.testing.assert_allclose(gradient, [0, 0.5, -0.5, 1, -1])
    loss, gradient = loss_and_gradient(smooth_l1, [0.05, 0.1, 1], beta=0.1)
    assert_close(loss, [0.0125, 0.05, 0.95], of=ELEMENTWISE)
    assert_close(gradient, [0.5, 1, 1], of=ELEMENTWISE)


def test_l1():
    loss, gradient = loss_and_gradient(l1, [0, 0.5, -3])
    np.testing.assert_array_equal(loss, np.float32([0, 0.5, 3]))
    np.testing.assert_array_equal(gradient, [0, 1, -1])


@pytest.mark.parametrize("beta", [0.1, 1 / 9, 1.0, 2.0])
def test_huber_is_beta_times_smooth_l1(beta):
    x = tf.linspace(-3.0, 3.0, 50)[:, tf.newaxis]
    huber = tf_keras.losses.Huber(delta=beta, reduction="none")(tf.zeros_like(x), x)
    assert_close(
        huber, beta * smooth_l1(tf.zeros_like(x), x, beta=beta)[:, 0], of=REDUCTION
    )


def test_small_beta_tends_to_l1():
    x = tf.linspace(-3.0, 3.0, 50)
    small = smooth_l1(tf.zeros_like(x), x, beta=1e-6)
    assert_close(small, l1(tf.zeros_like(x), x), of=ELEMENTWISE, scale=1.0)


def test_gradient_against_finite_differences():
    x = np.float32([-2, -0.4, 0.2, 0.45, 0.8])
    high, _ = loss_and_gradient(smooth_l1, x + 0.01, beta=0.5)
    low, _ = loss_and_gradient(smooth_l1, x - 0.01, beta=0.5)
    _, gradient = loss_and_gradient(smooth_l1, x, beta=0.5)
    np.testing.assert_allclose(gradient, (high - low) / 0.02, rtol=1e-4)


def test_huge_errors():
    loss, gradient = loss_and_gradient(smooth_l1, [1e30, -1e38])
    assert np.all(np.isfinite(loss))
    np.testing.assert_array_equal(gradient, [1, -1])


@pytest.mark.parametrize("function", [smooth_l1, l1])
def test_no_boxes_and_half_types(function):
    loss, gradient = loss_and_gradient(function, tf.zeros([0, 4]))
    assert loss.sum() == 0
    assert gradient.shape == (0, 4)
    x = tf.cast(tf.linspace(-2.0, 2.0, 33), tf.bfloat16)
    loss = function(tf.zeros_like(x), x)
    assert loss.dtype == tf.float32
    wide = tf.cast(x, tf.float32)
    np.testing.assert_array_equal(loss, function(tf.zeros_like(wide), wide))


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("function", [smooth_l1, l1])
def test_graph_and_xla(function, jit_compile):
    x = tf.linspace(-2.0, 2.0, 33)
    traced = tf.function(function, jit_compile=jit_compile)
    expected = function(tf.zeros_like(x), x)
    assert_close(traced(tf.zeros_like(x), x), expected, of=ELEMENTWISE)


def test_messages():
    for function in (smooth_l1, l1):
        with pytest.raises(ValueError, match=r"\(2, 4\) and \(2, 1\)"):
            function(tf.zeros([2, 4]), tf.zeros([2, 1]))
    with pytest.raises(ValueError, match="beta must be > 0, got 0"):
        smooth_l1([0.0], [0.0], beta=0)
