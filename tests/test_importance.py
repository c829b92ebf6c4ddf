"""losses.importance: the published weights, a total that stays, no gradient."""

import numpy as np
import pytest
import tensorflow as tf
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf.losses.importance import isr_positive_weights
from libra_tf.ops.rescale import keep_weighted_sum, shifted_power

# Three objects of two classes; class 0 has four positives, class 1 two.
IOU = np.float32([0.9, 0.6, 0.8, 0.7, 0.95, 0.3])
CLASSES = np.int32([0, 0, 0, 0, 1, 1])
INSTANCES = np.int32([0, 0, 0, 1, 2, 2])
LOSSES = np.float32([0.2395448, 0.5514446, 1.0986123, 1.1802697, 0.0949229, 2.2395446])
ALL = np.ones(6, bool)


def weights_of(iou=IOU, positive=ALL, values=LOSSES, weights=None, **kwargs):
    return isr_positive_weights(
        iou, CLASSES, INSTANCES, positive, values, weights, **kwargs
    )


@pytest.mark.parametrize(
    ("k", "bias", "expected"),
    [
        (2.0, 0.0, [2.105123, 0.131570, 0.526281, 1.184132, 2.105123, 1.184132]),
        (1.0, 0.0, [1.506858, 0.376714, 0.753429, 1.130143, 1.506858, 1.130143]),
        (2.0, 0.2, [1.797324, 0.287572, 0.647037, 1.150287, 1.797324, 1.150287]),
    ],
)
def test_published_code(k, bias, expected):
    weights = weights_of(k=k, bias=bias)
    assert_close(weights, expected, of=ELEMENTWISE, scale=1.0)
    assert_close((weights * LOSSES).numpy().sum(), 5.404339, of=ELEMENTWISE)


def test_defaults_are_the_published_ones():
    np.testing.assert_array_equal(weights_of(), weights_of(k=2.0, bias=0.0))


def test_k_zero_and_bias_one_keep_the_weights():
    old = np.float32([1, 2, 0.5, 0, 3, 1])
    for kwargs in ({"k": 0.0}, {"bias": 1.0}):
        assert_close(weights_of(weights=old, **kwargs), old, of=ELEMENTWISE)


@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_old_weights_multiply_and_zero_stays_zero(bias):
    old = np.float32([1, 2, 0.5, 0, 3, 1])
    weights = weights_of(weights=old, bias=bias).numpy()
    u = np.array([1, 0.25, 0.5, 0.75, 1, 0.75])
    expected = old * (bias + (1 - bias) * u) ** 2
    expected *= (old * LOSSES).sum() / (expected * LOSSES).sum()
    assert_close(weights, expected, of=ELEMENTWISE)
    assert weights[3] == 0


def random_batch(size=2000, seed=0):
    rng = np.random.default_rng(seed)
    instances = rng.integers(0, 90, size).astype(np.int32)
    return (
        rng.permutation(size).astype(np.float32) / size,
        instances % 7,
        instances,
        rng.uniform(size=size) < 0.3,
        rng.exponential(size=size).astype(np.float32),
        rng.uniform(size=size).astype(np.float32),
    )


@pytest.mark.parametrize(("k", "bias"), [(2.0, 0.0), (0.5, 0.1), (5.0, 0.0)])
def test_the_total_stays_and_other_entries_keep_their_weight(k, bias):
    batch = random_batch()
    *_, positive, values, old = batch
    weights = isr_positive_weights(*batch, k=k, bias=bias).numpy()
    np.testing.assert_array_equal(weights[~positive], old[~positive])
    assert_close(
        (weights * values)[positive].sum(), (old * values)[positive].sum(), of=REDUCTION
    )
    assert np.all(weights >= 0)


def test_what_is_not_positive_is_not_looked_at():
    iou, classes, instances, positive, values, old = random_batch()
    spoilt = [
        np.where(positive, x, bad)
        for x, bad in ((iou, np.nan), (classes, 3), (instances, -9), (values, np.nan))
    ]
    np.testing.assert_array_equal(
        isr_positive_weights(*spoilt[:3], positive, spoilt[3], old),
        isr_positive_weights(iou, classes, instances, positive, values, old),
    )


def test_one_positive_keeps_its_weight():
    weights = weights_of(positive=np.arange(6) == 1, weights=2 * LOSSES)
    assert_close(weights, 2 * LOSSES, of=ELEMENTWISE)


def test_ties_favour_the_lowest_index():
    weights = weights_of(iou=np.full(6, 0.5, np.float32), values=np.ones(6, "float32"))
    u = np.array([1, 0.5, 0.25, 0.75, 1, 0.75])
    assert_close(weights, 6 * u**2 / (u**2).sum(), of=ELEMENTWISE)


@pytest.mark.parametrize(
    "change",
    [
        {"positive": ~ALL},
        {"values": np.zeros(6, np.float32)},
        {"values": np.full(6, np.inf, np.float32)},
        {"values": np.full(6, np.nan, np.float32)},
        {"weights": np.zeros(6, np.float32)},
    ],
    ids=["no positives", "no loss", "infinite loss", "loss NaN", "no weight"],
)
def test_weights_that_cannot_be_scaled_stay(change):
    kwargs = {"weights": np.float32([1, 2, 3, 4, 5, 6]), **change}
    np.testing.assert_array_equal(weights_of(**kwargs), kwargs["weights"])


def test_no_examples():
    empty = [tf.zeros([0], dtype) for dtype in ("float32", "int32", "int32", "bool")]
    assert isr_positive_weights(*empty, tf.zeros([0])).shape == [0]


def test_no_gradient_flows():
    iou, values, old = map(tf.constant, (IOU, LOSSES, LOSSES))
    with tf.GradientTape() as tape:
        tape.watch([iou, values, old])
        weights = weights_of(iou, values=values, weights=old)
    assert tape.gradient(weights, [iou, values, old]) == [None] * 3


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla(jit_compile):
    batch = random_batch()
    traced = tf.function(isr_positive_weights, jit_compile=jit_compile)
    expected = isr_positive_weights(*batch)
    assert_close(traced(*map(tf.constant, batch)), expected, of=REDUCTION, scale=1.0)


def test_bfloat16():
    iou, values = (tf.cast(x, tf.bfloat16) for x in (IOU, LOSSES))
    weights = weights_of(iou, values=values)
    assert weights.dtype == tf.float32
    wide = weights_of(tf.cast(iou, "float32"), values=tf.cast(values, "float32"))
    np.testing.assert_array_equal(weights, wide)


def test_rows_are_scaled_on_their_own():
    members = tf.constant([[True, True, False], [True, True, True], [False] * 3])
    scaled = keep_weighted_sum(
        tf.constant([[1.0, 3, 9], [1, 1, 2], [1, 1, 1]]),
        tf.ones([3, 3]),
        tf.constant([[1.0, 1, 1], [4, 0, 2], [1, 1, 1]]),
        members,
    )
    expected = [[0.5, 1.5, 1], [0.75, 0.75, 1.5], [1, 1, 1]]
    assert_close(scaled, expected, of=ELEMENTWISE)


def test_a_factor_beyond_float32_is_not_used():
    old = tf.constant([1e20])
    scaled = keep_weighted_sum([1e-30], old, [1.0], [True])
    np.testing.assert_array_equal(scaled, old)


def test_shifted_power():
    x = tf.constant([0.0, 0.5, 1.0])
    np.testing.assert_allclose(shifted_power(x, k=2, bias=0), [0, 0.25, 1])
    assert_close(
        shifted_power(x, k=0.5, bias=0.2), np.sqrt([0.2, 0.6, 1]), of=ELEMENTWISE
    )
    np.testing.assert_array_equal(shifted_power(x, k=0, bias=0), [1, 1, 1])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"k": -1}, "k must be >= 0, got -1"),
        ({"k": float("inf")}, "k must be >= 0, got inf"),
        ({"bias": 1.5}, r"bias must be in \[0, 1\], got 1.5"),
        ({"bias": float("nan")}, r"bias must be in \[0, 1\], got nan"),
        ({"values": np.zeros(5)}, r"values must have shape \(6,\), got \(5,\)"),
        ({"weights": np.zeros(5)}, r"weights must have shape \(6,\), got \(5,\)"),
        ({"positive": ALL[:5]}, r"iou, classes, instances, positive .*\(6,\), \(5,\)"),
    ],
)
def test_messages(kwargs, message):
    with pytest.raises(ValueError, match=message):
        weights_of(**kwargs)
