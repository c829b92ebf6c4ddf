"""losses.ghm_r: hand values, the formula, and the smooth loss below it."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf.losses.ghm_r import GHMRLoss, ghm_r

# g is 0, 0.98058, 0.99920 and 0.99980: one entry in the first bin, three in the last.
D = np.float32([0, 0.1, 0.5, -1])
ALL = np.ones(4, bool)
LOSS = 0.2570967
PLAIN = {"momentum": 0.0}


def loss_and_gradient(y, x, valid, **kwargs):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        values, total, density = ghm_r(y, x, valid, **kwargs)
        loss = tf.reduce_sum(values) / total
    return loss.numpy(), tape.gradient(loss, x).numpy(), density


def formula(y, x, valid, mu=0.02, bins=10, momentum=0.0, state=None):
    """The released loop over bins, in float64."""
    d = np.float64(x) - np.float64(y)
    g = np.abs(d / np.sqrt(d * d + mu * mu))
    edges = np.arange(bins + 1) / bins
    edges[-1] = 1e3
    state = np.zeros(bins) if state is None else np.array(state)
    total, filled, beta = max(valid.sum(), 1), 0, np.zeros_like(g)
    for j in range(bins):
        inside = valid & (g >= edges[j]) & (g < edges[j + 1])
        if inside.any():
            filled += 1
            state[j] = momentum * state[j] + (1 - momentum) * inside.sum()
            beta[inside] = total / state[j]
    beta /= max(filled, 1)
    values = beta * (np.sqrt(d * d + mu * mu) - mu)
    return values, beta * d / np.sqrt(d * d + mu * mu) / total, state


def random_entries(size=3000, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=size).astype(np.float32)
    x = (y + rng.normal(scale=0.05, size=size)).astype(np.float32)
    return y, x, rng.uniform(size=size) < 0.3


def test_hand_values():
    for sign in (1, -1):
        values, total, density = ghm_r(0 * D, sign * D, ALL, **PLAIN)
        assert_close(tf.reduce_sum(values) / total, LOSS, of=ELEMENTWISE)
        np.testing.assert_array_equal(density, [1, 0, 0, 0, 0, 0, 0, 0, 0, 3])
        asl1 = np.sqrt(np.float64(D) ** 2 + 0.02**2) - 0.02
        assert_close(values, asl1 * [2, 2 / 3, 2 / 3, 2 / 3], of=ELEMENTWISE)
    values = ghm_r(0 * D, D, ALL, divisor="all", **PLAIN).values
    assert_close(tf.reduce_sum(values) / 4, LOSS / 5, of=ELEMENTWISE)


@pytest.mark.parametrize("bins", [1, 10, 30])
@pytest.mark.parametrize("mu", [0.02, 0.5])
def test_formula(mu, bins):
    y, x, valid = random_entries()
    expected, slope, state = formula(y, x, valid, mu, bins)
    result = ghm_r(y, x, valid, mu=mu, num_bins=bins, **PLAIN)
    np.testing.assert_allclose(result.values, expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(result.density, state)
    _, gradient, _ = loss_and_gradient(y, x, valid, mu=mu, num_bins=bins, **PLAIN)
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-9)


def test_five_levels_in_a_chain():
    """As the released heads do: one call for each level, with one state."""
    state = density = None
    for level in range(5):
        y, x, valid = random_entries(4**level * 8, seed=level)
        expected, slope, state = formula(y, x, valid, 0.02, 10, 0.7, state)
        loss, gradient, density = loss_and_gradient(y, x, valid, density=density)
        assert_close(loss, expected.sum() / valid.sum(), of=REDUCTION)
        np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-9)
        assert_close(density, state, of=ELEMENTWISE)


def test_momentum_of_the_first_call():
    """The average starts at 0, so the first loss is divided by 1 - 0.7."""
    loss, _, density = loss_and_gradient(0 * D, D, ALL)
    assert_close(loss, LOSS / 0.3, of=ELEMENTWISE)
    assert_close(density.numpy()[[0, 9]], [0.3, 0.9], of=ELEMENTWISE)


def test_gradient_against_finite_differences():
    """With one bin beta is 1, and no step can change it."""
    x = np.float32([-0.3, -0.05, -0.01, 0.02, 0.08, 0.5])
    arguments = {"num_bins": 1, **PLAIN}
    _, gradient, _ = loss_and_gradient(0 * x, x, x < 9, **arguments)
    for i in range(6):
        step = np.float32(0.002) * (np.arange(6) == i)
        high, _, _ = loss_and_gradient(0 * x, x + step, x < 9, **arguments)
        low, _, _ = loss_and_gradient(0 * x, x - step, x < 9, **arguments)
        np.testing.assert_allclose(gradient[i], (high - low) / 0.004, rtol=5e-3)


def test_tiny_errors_are_not_rounded_away():
    d = np.float32([1e-3, 1e-5, 1e-7])
    values = ghm_r(0 * d, d, d > 0, num_bins=1, **PLAIN).values
    np.testing.assert_allclose(values, np.float64(d) ** 2 / 0.04, rtol=1e-3)


def test_zero_and_huge_errors():
    d = np.float32([0, 1e18, -1e30, 3e38])
    values, _, density = ghm_r(0 * d, d, ALL, num_bins=2, **PLAIN)
    assert values[0] == 0
    assert_close(values[1:] / np.abs(d[1:]), 2 / 3, of=ELEMENTWISE)
    np.testing.assert_array_equal(density, [1, 3])
    with tf.GradientTape() as tape:
        x = tf.constant(d)
        tape.watch(x)
        values = ghm_r(0 * d, x, ALL, num_bins=2, **PLAIN).values
    expected = np.float32([0, 2 / 3, -2 / 3, 2 / 3])
    assert_close(tape.gradient(values, x), expected, of=ELEMENTWISE)


@pytest.mark.parametrize("mu", [1e-15, 1e9])
def test_extreme_mu(mu):
    loss, gradient, _ = loss_and_gradient(0 * D, D, ALL, mu=mu)
    assert np.isfinite(loss)
    assert np.all(np.isfinite(gradient))


def test_what_is_not_valid_counts_nowhere():
    y, x, valid = random_entries(600)
    loss, gradient, density = loss_and_gradient(y, x, valid)
    poisoned, targets = np.where(valid, x, np.nan), np.where(valid, y, np.nan)
    other = loss_and_gradient(targets, poisoned, valid)
    np.testing.assert_array_equal(other[0], loss)
    np.testing.assert_array_equal(other[1], gradient)
    np.testing.assert_array_equal(other[2], density)
    alone, _, _ = loss_and_gradient(y[valid], x[valid], np.ones(valid.sum(), bool))
    assert_close(loss, alone, of=ELEMENTWISE)


@pytest.mark.parametrize("shape", [[0], [2, 0, 4], [7, 4]])
def test_no_positives(shape):
    x = tf.ones(shape)
    loss, gradient, density = loss_and_gradient(0 * x, x, tf.zeros(shape, tf.bool))
    assert loss == 0
    assert not np.any(gradient)
    assert not np.any(density)


def test_one_positive():
    y, x, _ = (a.reshape(150, 4) for a in random_entries(600))
    one = np.arange(150)[:, None] == 7
    loss, gradient, _ = loss_and_gradient(y, x, one)
    alone, expected, _ = loss_and_gradient(y[7], x[7], ALL)
    assert_close(loss, alone, of=ELEMENTWISE)
    assert_close(gradient[7], expected, of=ELEMENTWISE)
    assert not np.any(np.delete(gradient, 7, axis=0))


def test_sum_replicas_makes_two_equal_replicas_one_batch():
    y, x, valid = random_entries(600)
    twice = ghm_r(*(np.tile(a, 2) for a in (y, x, valid)))
    half = ghm_r(y, x, valid, sum_replicas=lambda counts: 2 * counts)
    assert_close(half.values, twice.values[:600], of=ELEMENTWISE)
    np.testing.assert_array_equal(half.density, twice.density)
    assert half.total == twice.total == 2 * valid.sum()


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla(jit_compile):
    y, x, valid = random_entries(1000)
    arguments = tf.constant(y), tf.constant(x), tf.constant(valid)
    traced = tf.function(lambda *a: tuple(ghm_r(*a)), jit_compile=jit_compile)
    for one, two in zip(traced(*arguments), ghm_r(*arguments), strict=True):
        assert_close(one, two, of=REDUCTION)


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_half_types_are_computed_in_float32(dtype):
    y, x, valid = random_entries()
    y, x = tf.cast(y, dtype), tf.cast(x, dtype)
    wide = ghm_r(tf.cast(y, tf.float32), tf.cast(x, tf.float32), valid)
    for one, two in zip(ghm_r(y, x, valid), wide, strict=True):
        assert one.dtype == tf.float32
        np.testing.assert_array_equal(one, two)


def test_class_is_the_function_without_momentum():
    y, x, _ = (a.reshape(2, 75, 4) for a in random_entries(600))
    boxes = np.random.default_rng(2).uniform(size=[2, 75]) < 0.3
    values, total, _ = ghm_r(y, x, boxes[..., None], **PLAIN)
    weights = boxes.astype(np.float32)
    loss = GHMRLoss()(y, x, sample_weight=weights)
    assert_close(loss, tf.reduce_sum(values) / total, of=ELEMENTWISE)
    parts = GHMRLoss(reduction="none")(y, x, sample_weight=weights)
    assert_close(parts, tf.reduce_sum(values, -1) / total, of=ELEMENTWISE)
    assert_close(GHMRLoss()(0 * D, D), LOSS, of=ELEMENTWISE)


def test_class_comes_back_from_its_config():
    loss = GHMRLoss(0.1, 20, "all", reduction="none", name="boxes")
    restored = tf_keras.losses.deserialize(tf_keras.losses.serialize(loss))
    assert isinstance(restored, GHMRLoss)
    assert restored.get_config() == loss.get_config()
    np.testing.assert_array_equal(restored(0 * D, D), loss(0 * D, D))
    expected = ghm_r(0 * D, D, ALL, mu=0.1, num_bins=20, divisor="all", **PLAIN)
    np.testing.assert_allclose(loss(0 * D, D), tf.reduce_sum(expected.values) / 4)


def test_messages():
    for build in (lambda **kwargs: ghm_r(D, D, ALL, **kwargs), GHMRLoss):
        for mu in (0, -1.0, 1e20, float("nan")):
            with pytest.raises(ValueError, match=r"mu must be in \[1e-15, 1"):
                build(mu=mu)
        with pytest.raises(ValueError, match="num_bins must be at least 1, got 0"):
            build(num_bins=0)
    with pytest.raises(ValueError, match=r"y_true and y_pred .*\(3,\) and \(4,\)"):
        ghm_r(D[:3], D, ALL)
    with pytest.raises(ValueError, match=r"valid must have the shape \(4,\) of y_pred"):
        ghm_r(D, D, ALL[:3])
