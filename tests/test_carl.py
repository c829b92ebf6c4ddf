"""losses.carl: the published value, and the gradient into the score."""

import numpy as np
import pytest
import tensorflow as tf
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf.losses import smooth_l1
from libra_tf.losses.carl import carl

LOGITS = tf.constant(
    [[2, 0, 0], [1, 0, 0], [0, 0, 0], [0.5, 0, 1], [0, 3, 0], [0, 0, 2]], tf.float32
)
LABELS = [0, 0, 0, 0, 1, 1]
# Errors in one coordinate of six boxes.
ERRORS = tf.constant([1, 4, 2, 3, 0.5, 7], tf.float32)
ALL = tf.ones([6], tf.bool)

P = np.float32([0.1, 0.4, 0.9, 0.7, 0.0, 1.0])
L = np.float32([2.0, 0.5, 3.0, 0.1, 1.0, 0.7])


def class_probability(logits):
    return tf.gather(tf.nn.softmax(logits), LABELS, batch_dims=1)


def box_losses():
    return smooth_l1(tf.zeros_like(ERRORS), ERRORS, beta=1.0)


def expected_carl(p, losses, k, bias):
    """In double precision, as written in the paper."""
    value = (bias + (1 - bias) * p.astype(np.float64)) ** k
    return value * len(p) / value.sum() * losses


def value_and_gradients(p, losses, positive=None, **kwargs):
    p, losses = tf.convert_to_tensor(p), tf.convert_to_tensor(losses)
    positive = tf.ones(p.shape, tf.bool) if positive is None else positive
    with tf.GradientTape() as tape:
        tape.watch([p, losses])
        value = carl(p, losses, positive, **kwargs)
        total = tf.reduce_sum(value)
    gradients = tape.gradient(total, [p, losses], unconnected_gradients="zero")
    return value.numpy(), *(x.numpy() for x in gradients)


def test_published_value():
    p = class_probability(LOGITS)
    assert_close(
        p,
        [0.786986, 0.576117, 0.333333, 0.307196, 0.909443, 0.106507],
        of=ELEMENTWISE,
        scale=1.0,
    )
    value = carl(p, box_losses(), ALL)
    assert_close(
        value / box_losses(),
        [1.376657, 1.096717, 0.774408, 0.739709, 1.539226, 0.473283],
        of=ELEMENTWISE,
        scale=1.0,
    )
    assert_close(tf.reduce_sum(value) / 8, 1.3508083, of=ELEMENTWISE)


@pytest.mark.parametrize(("k", "bias"), [(1.0, 0.2), (2.0, 0.0), (0.5, 0.1), (0, 0)])
def test_values_and_mean_weight_one(k, bias):
    value, *_ = value_and_gradients(P, L, k=k, bias=bias)
    expected = expected_carl(P, L, k, bias)
    np.testing.assert_allclose(value, expected, rtol=2e-6, atol=1e-12)
    assert_close((value / L).mean(), 1, of=ELEMENTWISE)


def test_k_zero_and_bias_one_are_the_box_loss():
    for kwargs in ({"k": 0.0}, {"bias": 1.0}):
        value, to_p, _ = value_and_gradients(P, L, **kwargs)
        assert_close(value, L, of=ELEMENTWISE)
        assert_close(to_p, 0, of=ELEMENTWISE, scale=1.0)


@pytest.mark.parametrize(("k", "bias"), [(1.0, 0.2), (2.0, 0.1)])
def test_gradient_of_the_docstring(k, bias):
    _, to_p, to_losses = value_and_gradients(P, L, k=k, bias=bias)
    base = bias + (1 - bias) * P.astype(np.float64)
    value, slope = base**k, k * base ** (k - 1) * (1 - bias)
    mean = (value * L).sum() / value.sum()
    expected = len(P) / value.sum() * (L - mean) * slope
    assert_close(to_p, expected, of=REDUCTION, scale=1.0)
    is_bad = mean < L
    assert np.all((to_p > 0) == is_bad)  # descent lowers the score of a bad box
    assert_close(to_losses, len(P) * value / value.sum(), of=ELEMENTWISE)


def test_gradient_into_the_logits_against_finite_differences():
    def total(logits):
        return tf.reduce_sum(carl(class_probability(logits), box_losses(), ALL))

    with tf.GradientTape() as tape:
        tape.watch(LOGITS)
        loss = total(LOGITS)
    gradient = tape.gradient(loss, LOGITS).numpy()
    step = 1e-2
    for row, column in ((0, 0), (1, 2), (3, 1), (5, 1)):
        shift = np.zeros([6, 3], np.float32)
        shift[row, column] = step
        slope = (total(LOGITS + shift) - total(LOGITS - shift)) / (2 * step)
        np.testing.assert_allclose(gradient[row, column], slope, rtol=1e-3, atol=1e-3)


def test_only_positives_count():
    positive = np.arange(6) % 2 == 0
    p, losses = np.where(positive, P, np.nan), np.where(positive, L, np.inf)
    value, to_p, to_losses = value_and_gradients(p, losses, positive)
    expected = value_and_gradients(P[positive], L[positive])
    for actual, wanted in zip((value, to_p, to_losses), expected, strict=True):
        assert_close(actual[positive], wanted, of=ELEMENTWISE, scale=1.0)
        np.testing.assert_array_equal(actual[~positive], 0)


def test_no_positives_and_no_examples():
    for result in value_and_gradients(P, L, tf.zeros([6], tf.bool)):
        np.testing.assert_array_equal(result, np.zeros(6))
    for result in value_and_gradients(P[:0], L[:0]):
        assert result.shape == (0,)


def test_one_positive_and_ties_have_weight_one():
    value, to_p, _ = value_and_gradients(P[:1], L[:1])
    np.testing.assert_allclose(value, L[:1])
    assert_close(to_p, 0, of=ELEMENTWISE, scale=1.0)
    value, *_ = value_and_gradients(np.full(6, 0.3, np.float32), L)
    assert_close(value, L, of=ELEMENTWISE)


@pytest.mark.parametrize(
    "p", [[0, 0, 0], [1e-38, 1e-30, 0], [1, 1, 1], [0, 1, 0.5]], ids=str
)
@pytest.mark.parametrize("k", [0.5, 1.0, 30.0])
def test_extreme_probabilities_without_bias(p, k):
    value, *gradients = value_and_gradients(np.float32(p), L[:3], k=k, bias=0.0)
    assert_close((value / L[:3]).mean(), 1, of=REDUCTION)
    assert np.all(np.isfinite(gradients))


def test_extreme_logits():
    logits = tf.constant(np.float32([[100, 0, -100]] * 3 + [[-100, -100, 100]] * 3))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = tf.reduce_sum(carl(class_probability(logits), box_losses(), ALL))
    assert np.all(np.isfinite(tape.gradient(loss, logits)))


def test_bfloat16_is_computed_in_float32():
    p, losses = (tf.cast(x, tf.bfloat16) for x in (P, L))
    value = carl(p, losses, ALL)
    assert value.dtype == tf.float32
    wide = carl(tf.cast(p, tf.float32), tf.cast(losses, tf.float32), ALL)
    np.testing.assert_array_equal(value, wide)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla(jit_compile):
    positive = tf.constant(np.arange(6) % 3 != 0)
    traced = tf.function(value_of, jit_compile=jit_compile)
    expected = value_of(tf.constant(P), tf.constant(L), positive)
    for actual, wanted in zip(
        traced(tf.constant(P), tf.constant(L), positive), expected, strict=True
    ):
        assert_close(actual, wanted, of=REDUCTION, scale=1.0)


def value_of(p, losses, positive):
    with tf.GradientTape() as tape:
        tape.watch(p)
        value = carl(p, losses, positive)
    return value, tape.gradient(value, p)


def test_messages():
    with pytest.raises(ValueError, match="k must be >= 0, got -1"):
        carl(P, L, ALL, k=-1)
    with pytest.raises(ValueError, match=r"bias must be in \[0, 1\], got 2"):
        carl(P, L, ALL, bias=2)
    with pytest.raises(ValueError, match=r"\(6,\), \(5,\) and \(6,\)"):
        carl(P, L[:5], ALL)
    with pytest.raises(ValueError, match=r"\[N\], got \(2, 3\)"):
        carl(P.reshape(2, 3), L.reshape(2, 3), tf.ones([2, 3], tf.bool))
