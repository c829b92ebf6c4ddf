"""losses.balanced_l1: the paper's gradient, the reference's numbers."""

import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf.losses import BalancedL1Loss, balanced_l1

GOLDEN = np.load(Path(__file__).parent / "golden" / "balanced_l1.npz")

# |x|, then value and gradient for beta 1 and for beta 0.11 in the reference form.
TABLE = np.array(
    [
        [0.01, 0.000449386, 0.087335923, 0.026389693, 1.982190673],
        [0.05, 0.009303594, 0.335010113, 0.091197124, 1.552909521],
        [0.1, 0.031353086, 0.533827972, 0.171709540, 1.675282961],
        [0.11, 0.036851937, 0.565605734, 0.188593545, 1.5],
        [0.5, 0.400567507, 1.177720086, 0.773593545, 1.5],
        [1, 1.078593545, 1.5, 1.523593545, 1.5],
        [1.5, 1.828593545, 1.5, 2.273593545, 1.5],
        [2, 2.578593545, 1.5, 3.023593545, 1.5],
    ]
)


def loss_and_gradient(x, target=None, **kwargs):
    x = tf.convert_to_tensor(x, tf.float32)
    target = tf.zeros_like(x) if target is None else target
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = balanced_l1(target, x, **kwargs)
    return loss.numpy(), tape.gradient(loss, x).numpy()


@pytest.mark.parametrize("sign", [1, -1])
def test_table(sign):
    x, *columns = TABLE.T
    for (value, slope), kwargs in (
        (columns[:2], {}),
        (columns[2:], {"beta": 0.11, "form": "reference"}),
    ):
        loss, gradient = loss_and_gradient(sign * x, **kwargs)
        np.testing.assert_allclose(loss, value, rtol=1e-5, atol=1e-8)
        assert_close(gradient, sign * slope, of=REDUCTION)


@pytest.mark.parametrize(
    ("alpha", "gamma", "at_half", "at_one"),
    [
        (0.2, 1.0, 0.3372092, 0.8067837),
        (0.3, 1.0, 0.2809759, 0.7369937),
        (0.5, 1.0, 0.2206512, 0.6565176),
        (0.5, 2.0, 0.6122686, 1.5373147),
    ],
)
def test_other_settings(alpha, gamma, at_half, at_one):
    loss, _ = loss_and_gradient([0.5, 1.0], alpha=alpha, gamma=gamma)
    assert_close(loss, [at_half, at_one], of=ELEMENTWISE)


@pytest.mark.parametrize("case", range(6))
def test_golden(case):
    alpha, gamma, beta = (round(float(x), 6) for x in GOLDEN[f"{case}/params"])
    loss, gradient = loss_and_gradient(
        GOLDEN[f"{case}/pred"],
        GOLDEN[f"{case}/target"],
        alpha=alpha,
        gamma=gamma,
        beta=beta,
        form="reference",
    )
    assert_close(loss, GOLDEN[f"{case}/loss"], of=ELEMENTWISE, scale=1.0)
    assert_close(gradient, GOLDEN[f"{case}/grad"], of=ELEMENTWISE, scale=1.0)


def test_the_forms_agree_for_beta_one():
    x = tf.linspace(-3.0, 3.0, 41)
    assert_close(
        loss_and_gradient(x), loss_and_gradient(x, form="reference"), of=ELEMENTWISE
    )


@pytest.mark.parametrize("beta", [0.11, 1.0, 2.5])
def test_consistent_gradient_of_the_paper(beta):
    """alpha * ln(b |x| / beta + 1) below beta, gamma above, continuous at beta."""
    b = math.exp(3) - 1
    x = beta * np.linspace(0.01, 2, 200).astype(np.float32)
    loss, gradient = loss_and_gradient(x, beta=beta)
    expected = np.where(x < beta, 0.5 * np.log(b * x / beta + 1), 1.5)
    assert_close(gradient, expected, of=REDUCTION)
    assert np.all(np.diff(gradient) >= -1e-6)
    below, above = loss_and_gradient([beta * (1 - 1e-6), beta * (1 + 1e-6)], beta=beta)
    assert_close(below[0], below[1], of=REDUCTION)
    assert_close(above[0], above[1], of=REDUCTION)
    assert np.all(np.diff(loss) > 0)


def test_consistent_values_for_beta_011():
    loss, _ = loss_and_gradient([0.05, 0.11, 1], beta=0.11)
    assert_close(loss, [0.0382796, 0.1186453, 1.4536453], of=REDUCTION)


def test_the_reference_form_has_the_slope_beside_zero_that_its_docstring_says():
    _, gradient = loss_and_gradient([1e-6], beta=0.11, form="reference")
    np.testing.assert_allclose(gradient, 0.5 * (1 / 0.11 - 1), rtol=1e-3)


@pytest.mark.parametrize("form", ["consistent", "reference"])
@pytest.mark.parametrize("beta", [0.11, 1.0])
def test_gradient_against_finite_differences(form, beta):
    x = beta * np.float32([-3, -1.5, -0.7, -0.2, 0.3, 0.9, 1.2])
    step = np.float32(beta * 0.01)
    high, _ = loss_and_gradient(x + step, beta=beta, form=form)
    low, _ = loss_and_gradient(x - step, beta=beta, form=form)
    _, gradient = loss_and_gradient(x, beta=beta, form=form)
    np.testing.assert_allclose(gradient, (high - low) / (2 * step), rtol=2e-3)


@pytest.mark.parametrize("form", ["consistent", "reference"])
def test_zero_and_huge_errors(form):
    loss, gradient = loss_and_gradient([0.0, 1e30, -1e38], form=form, beta=0.11)
    assert loss[0] == 0
    np.testing.assert_array_equal(gradient, np.float32([0, 1.5, -1.5]))
    assert np.all(np.isfinite(loss))


def test_no_boxes():
    x = tf.zeros([0, 4])
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(balanced_l1(x, x))
    assert total == 0
    assert tape.gradient(total, x).shape == [0, 4]


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_half_types_are_computed_in_float32(dtype):
    x = tf.cast(tf.linspace(-2.0, 2.0, 33), dtype)
    loss = balanced_l1(tf.zeros_like(x), x)
    assert loss.dtype == tf.float32
    wide, _ = loss_and_gradient(tf.cast(x, tf.float32))
    np.testing.assert_array_equal(loss, wide)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla(jit_compile):
    x = tf.linspace(-2.0, 2.0, 33)
    traced = tf.function(balanced_l1, jit_compile=jit_compile)
    expected = balanced_l1(tf.zeros_like(x), x)
    assert_close(traced(tf.zeros_like(x), x), expected, of=REDUCTION, scale=1.0)


def test_class_sums_the_coordinates_and_weights_the_boxes():
    x = tf.constant([[[0.3, -1.2, 0.05, 2.0], [1.0, 0.0, 0.0, 0.0]]])
    sums = BalancedL1Loss(reduction="none")(tf.zeros_like(x), x)
    assert_close(sums, [[4.1523115, 1.078593545]], of=ELEMENTWISE)
    weighted = BalancedL1Loss(reduction="sum")(
        tf.zeros_like(x), x, sample_weight=tf.constant([[2.0, 0.0]])
    )
    assert_close(weighted, 2 * 4.1523115, of=ELEMENTWISE)


def test_class_comes_back_from_its_config():
    loss = BalancedL1Loss(0.3, 1.0, 0.11, "reference", reduction="sum", name="box")
    restored = tf_keras.losses.deserialize(tf_keras.losses.serialize(loss))
    assert isinstance(restored, BalancedL1Loss)
    assert restored.get_config() == loss.get_config()
    x = tf.constant([[0.05, 1.0]])
    np.testing.assert_array_equal(restored(0 * x, x), loss(0 * x, x))
    expected = balanced_l1(0 * x, x, alpha=0.3, gamma=1.0, beta=0.11, form="reference")
    np.testing.assert_allclose(loss(0 * x, x), tf.reduce_sum(expected))


@pytest.mark.parametrize("name", ["alpha", "gamma", "beta"])
@pytest.mark.parametrize("value", [0, -1.0, math.inf, math.nan])
def test_numbers_out_of_range(name, value):
    for build in (lambda **kwargs: balanced_l1([0.0], [0.0], **kwargs), BalancedL1Loss):
        with pytest.raises(ValueError, match=rf"{name} must be > 0, got"):
            build(**{name: value})


def test_messages():
    with pytest.raises(ValueError, match=r"\(2, 4\) and \(2, 1\)"):
        balanced_l1(tf.zeros([2, 4]), tf.zeros([2, 1]))
    with pytest.raises(ValueError, match="consistent, reference, got 'paper'"):
        BalancedL1Loss(form="paper")
    with pytest.raises(ValueError, match="gamma / alpha must be at most"):
        BalancedL1Loss(alpha=0.001)
