"""losses.ghm_c: the released code's numbers, the histogram, and what is detached."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf.losses import gradient_density
from libra_tf.losses.ghm_c import GHMCLoss, ghm_c

GOLDEN = np.load(Path(__file__).parent / "golden" / "ghm_c.npz")
CALLS = 3

# Eight entries; with 10 bins 3, 1, 1, 1 and 2 of them are in bins 0, 1, 4, 5 and 9.
P = np.array([0.05, 0.08, 0.12, 0.55, 0.97, 0.02, 0.91, 0.40])
X = np.log(P / (1 - P)).astype(np.float32)
X[7] += 2e-7  # 0.40 is an edge, and sigmoid may round to either side of it
Y = np.float32([0, 0, 0, 0, 0, 1, 1, 0])
ALL = np.ones(8, bool)
BETA = np.array([1 / 3, 1 / 3, 1, 1, 0.5, 0.5, 1 / 3, 1]) * 8 / 5
CROSS_ENTROPY = -np.log(np.where(Y == 1, P, 1 - P))
PLAIN = {"num_bins": 10, "momentum": 0.0}


def loss_and_gradient(y, x, valid, **kwargs):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        values, total, density = ghm_c(y, x, valid, **kwargs)
        loss = tf.reduce_sum(values) / total
    return loss.numpy(), tape.gradient(loss, x).numpy(), density


def formula(y, x, valid, bins, momentum=0.0, state=None, divide_by_all=False):
    """The released loop over bins, in float64: loss and the new state."""
    y, x = np.float64(y), np.float64(x)
    g = np.abs(1 / (1 + np.exp(-x)) - y)
    state = np.zeros(bins) if state is None else np.array(state)
    total, filled, beta = max(valid.sum(), 1), 0, np.zeros_like(g)
    for j in range(bins):
        inside = valid & (g >= j / bins) & ((g < (j + 1) / bins) | (j == bins - 1))
        if inside.any():
            filled += 1
            state[j] = momentum * state[j] + (1 - momentum) * inside.sum()
            beta[inside] = total / state[j]
    beta /= bins if divide_by_all else max(filled, 1)
    values = beta * (np.logaddexp(0, x) - x * y)
    return values, values.sum() / total, state


def random_entries(size=4000, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(-2, 2.5, [size]).astype(np.float32)
    y = (rng.uniform(size=size) < 0.1).astype(np.float32)
    return y, x, rng.uniform(size=size) < 0.8


@pytest.mark.parametrize("case", range(3))
def test_golden(case):
    """Three calls, with the state carried from one to the next."""
    density = None
    for call in range(CALLS):
        golden = {k: GOLDEN[f"{case}/{call}/{k}"] for k in ("logits", "labels")}
        bins, momentum = GOLDEN[f"{case}/{call}/params"]
        loss, gradient, density = loss_and_gradient(
            tf.one_hot(golden["labels"], 5),
            golden["logits"],
            GOLDEN[f"{case}/{call}/weights"][:, None],
            num_bins=int(bins),
            momentum=float(momentum),
            density=density if momentum else None,
        )
        expected = GOLDEN[f"{case}/{call}/grad"]
        assert_close(loss, GOLDEN[f"{case}/{call}/loss"], of=ELEMENTWISE)
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-9)


def test_hand_values():
    values, total, density = ghm_c(Y, X, ALL, **PLAIN)
    assert_close(values, BETA * CROSS_ENTROPY, of=REDUCTION)
    assert total == 8
    np.testing.assert_array_equal(density, [3, 1, 0, 0, 1, 1, 0, 0, 0, 2])
    assert_close(tf.reduce_sum(values) / total, 1.0445573, of=ELEMENTWISE)


def test_hand_values_of_other_settings():
    for expected, valid, kwargs in (
        (0.5222787, ALL, {**PLAIN, "divisor": "all"}),
        (0.8810996, ALL, {"num_bins": 30, "momentum": 0.0}),
        (1.0851038, np.arange(8) != 4, PLAIN),
    ):
        loss, gradient, _ = loss_and_gradient(Y, X, valid, **kwargs)
        assert_close(loss, expected, of=ELEMENTWISE)
        assert np.all((gradient != 0) == valid)


def test_momentum():
    density = None
    for expected in (4.1782293, 2.3875597, 1.8068018):
        loss, _, density = loss_and_gradient(
            Y, X, ALL, num_bins=10, momentum=0.75, density=density
        )
        assert_close(loss, expected, of=ELEMENTWISE)
    first = ghm_c(Y, X, ALL, num_bins=10, momentum=0.75).density
    expected = [0.75, 0.25, 0, 0, 0.25, 0.25, 0, 0, 0, 0.5]
    np.testing.assert_array_equal(first, expected)


def test_an_empty_bin_keeps_its_average():
    before = np.arange(10, dtype=np.float32) + 5
    after = ghm_c(Y, X, ALL, num_bins=10, momentum=0.5, density=before).density
    expected = [4, 3.5, 7, 8, 5, 5.5, 11, 12, 13, 8]
    np.testing.assert_array_equal(after, expected)
    nothing = ghm_c(Y, X, ~ALL, num_bins=10, momentum=0.5, density=before)
    np.testing.assert_array_equal(nothing.density, before)


def test_five_levels_in_a_chain():
    """As the released heads do: one call for each level, with one state."""
    state = density = None
    for level in range(5):
        y, x, valid = random_entries(4**level * 8, seed=level)
        _, expected, state = formula(y, x, valid, 30, 0.75, state)
        loss, _, density = loss_and_gradient(y, x, valid, density=density)
        assert_close(loss, expected, of=REDUCTION)
        assert_close(density, state, of=ELEMENTWISE)


@pytest.mark.parametrize("divisor", ["non_empty", "all"])
@pytest.mark.parametrize("bins", [1, 7, 30])
def test_formula(bins, divisor):
    y, x, valid = random_entries()
    expected, loss, state = formula(y, x, valid, bins, divide_by_all=divisor == "all")
    result = ghm_c(y, x, valid, num_bins=bins, momentum=0.0, divisor=divisor)
    np.testing.assert_allclose(result.values, expected, rtol=1e-4, atol=1e-6)
    assert_close(tf.reduce_sum(result.values) / result.total, loss, of=REDUCTION)
    np.testing.assert_array_equal(result.density, state)


def test_one_bin_is_cross_entropy():
    y, x, valid = random_entries()
    values = ghm_c(y, x, valid, num_bins=1, momentum=0.0).values
    expected = tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=x)
    assert_close(values, tf.where(valid, expected, 0.0), of=ELEMENTWISE)


def test_all_in_one_bin():
    """Beta 1 in the released code for every M, 1 / M in the paper."""
    x = np.zeros(50, np.float32)
    for divisor, beta in (("non_empty", 1.0), ("all", 1 / 30)):
        values = ghm_c(0 * x, x, x == 0, momentum=0.0, divisor=divisor).values
        assert_close(values, beta * np.log(2), of=ELEMENTWISE)


def test_each_bin_has_the_same_share_of_the_weight():
    y, x, valid = random_entries()
    plain = tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=x).numpy()
    values, total, density = ghm_c(y, x, valid, **PLAIN)
    bins = gradient_density.bin_index(tf.abs(tf.sigmoid(x) - y), 10).numpy()
    beta = values.numpy() / plain
    shares = np.bincount(bins[valid], beta[valid], minlength=10)
    np.testing.assert_allclose(shares, total / 10, rtol=1e-3)
    assert density.numpy().min() > 0


def test_the_gradient_flows_through_the_cross_entropy_only():
    y, x, valid = random_entries()
    values = ghm_c(y, x, valid, **PLAIN).values.numpy()
    plain = tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=x).numpy()
    probability = 1 / (1 + np.exp(-np.float64(x)))
    _, gradient, _ = loss_and_gradient(y, x, valid, **PLAIN)
    expected = values / plain * (probability - y) / valid.sum()
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-9)
    with tf.GradientTape() as tape:
        logits = tf.constant(x)
        tape.watch(logits)
        result = ghm_c(y, logits, valid)
        rest = tf.reduce_sum(result.density) + result.total
    assert tape.gradient(rest, logits) is None


def test_bins_agree_with_edges():
    """Every float32 beside an edge, for the numbers of bins that are published."""
    for bins in (10, 30):
        edges = np.arange(bins + 1, dtype=np.float32) / np.float32(bins)
        edges[-1] += 1e-6
        bits = edges[1:-1, None].view(np.int32) + np.arange(-20, 21, dtype=np.int32)
        g = np.concatenate([bits.view(np.float32).ravel(), np.float32([0, 1, 1e-45])])
        expected = np.searchsorted(edges, g, side="right") - 1
        for jit_compile in (False, True):
            indexed = tf.function(gradient_density.bin_index, jit_compile=jit_compile)
            np.testing.assert_array_equal(indexed(tf.constant(g), bins), expected)


def test_bins_miss_an_edge_by_one_unit_at_most():
    edges = np.arange(21, dtype=np.float32) / np.float32(20)
    below = np.nextafter(edges, np.float32(0))
    bins = gradient_density.bin_index(tf.constant(below[1:]), 20).numpy()
    assert np.flatnonzero(bins != np.arange(20)).tolist() == [16]
    below = np.nextafter(below, np.float32(0))
    bins = gradient_density.bin_index(tf.constant(below[1:]), 20)
    np.testing.assert_array_equal(bins, np.arange(20))


def test_gradient_lengths_zero_and_one():
    x, y = np.float32([-200, 200, 200, 0]), np.float32([0, 1, 0, 1])
    density = ghm_c(y, x, x > -999, **PLAIN).density
    np.testing.assert_array_equal(density, [2, 0, 0, 0, 0, 1, 0, 0, 0, 1])


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("size", [0, 1, 255, 256, 5000])
def test_counts(size, jit_compile):
    rng = np.random.default_rng(1)
    bins = rng.integers(0, 30, size=[size]).astype(np.int32)
    valid = rng.uniform(size=size) < 0.5
    counted = tf.function(gradient_density.count, jit_compile=jit_compile)
    expected = np.bincount(bins[valid], minlength=30)
    np.testing.assert_array_equal(counted(bins, valid, 30), expected)


def test_counts_beyond_the_integers_of_float32():
    size = 2**24 + 3
    counts = gradient_density.count(
        tf.zeros([size], tf.int32), tf.ones([size], tf.bool), 2
    )
    np.testing.assert_array_equal(counts, [size, 0])


def test_what_is_not_valid_counts_nowhere():
    y, x, valid = random_entries(600)
    loss, gradient, density = loss_and_gradient(y, x, valid)
    poisoned, labels = np.where(valid, x, np.nan), np.where(valid, y, np.nan)
    other = loss_and_gradient(labels, poisoned, valid)
    np.testing.assert_array_equal(other[0], loss)
    np.testing.assert_array_equal(other[1], gradient)
    np.testing.assert_array_equal(other[2], density)
    assert not np.any(gradient[~valid])
    alone, _, _ = loss_and_gradient(y[valid], x[valid], np.ones(valid.sum(), bool))
    assert_close(loss, alone, of=ELEMENTWISE)


def test_valid_of_each_kind():
    y, x, _ = (a.reshape(8, 15, 5) for a in random_entries(600))
    boxes = np.random.default_rng(2).uniform(size=[8, 15, 1]) < 0.7
    expected = ghm_c(y, x, np.tile(boxes, [1, 1, 5]))
    weights = 2.5 * boxes.astype(np.float32)
    for valid in (boxes, weights, tf.cast(weights, tf.bfloat16), np.int32(boxes)):
        for one, other in zip(ghm_c(y, x, valid), expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shape", [[0], [2, 0, 5], [7, 3]])
def test_nothing_valid(shape):
    x = tf.ones(shape)
    loss, gradient, density = loss_and_gradient(0 * x, x, tf.zeros(shape, tf.bool))
    assert loss == 0
    assert not np.any(gradient)
    assert not np.any(density)
    assert ghm_c(0 * x, x, x < 0).total == 1


def test_a_nan_of_a_valid_entry_is_seen():
    x = np.where(np.arange(8) == 3, np.nan, X)
    assert np.isnan(loss_and_gradient(Y, x, ALL)[0])


def test_one_positive_and_huge_logits():
    x = np.float32([1e30, -1e30, 1e4, -1e4, 3e38, -3e38, -100, 100])
    y = np.float32([0, 0, 0, 0, 0, 0, 1, 0])
    loss, gradient, _ = loss_and_gradient(y, x / 1e8, ALL, **PLAIN)
    assert np.isfinite(loss)
    assert np.all(np.isfinite(gradient))
    _, gradient, _ = loss_and_gradient(y, x, ALL, **PLAIN)
    assert np.all(np.isfinite(gradient))


def test_replicas_together_are_the_whole_batch():
    y, x, valid = random_entries(1000)
    before = np.full(30, 9, np.float32)
    values, total, density = ghm_c(y, x, valid, density=before)
    halves = [(a[:300], a[300:]) for a in (y, x, valid)]
    counts = []
    for half in zip(*halves, strict=True):
        ghm_c(*half, sum_replicas=lambda c: counts.append(c) or c)
    results = [
        ghm_c(*half, density=before, sum_replicas=lambda c: tf.add_n(counts))
        for half in zip(*halves, strict=True)
    ]
    joined = tf.concat([result.values for result in results], axis=0)
    assert_close(joined, values, of=ELEMENTWISE)
    for result in results:
        assert result.total == total
        np.testing.assert_array_equal(result.density, density)


def test_all_reduce():
    y, x, valid = random_entries(900)
    devices = tf.config.list_logical_devices("CPU")
    strategy = tf.distribute.MirroredStrategy([d.name for d in devices])

    def step():
        context = tf.distribute.get_replica_context()
        return ghm_c(
            y, x, valid, sum_replicas=lambda c: context.all_reduce("sum", c)
        ).total

    totals = strategy.experimental_local_results(strategy.run(tf.function(step)))
    assert [float(t) for t in totals] == [valid.sum() * len(devices)] * len(devices)


def result_and_gradient(y, x, valid, density):
    with tf.GradientTape() as tape:
        tape.watch(x)
        result = ghm_c(y, x, valid, density=density)
        loss = tf.reduce_sum(result.values) / result.total
    return (*result, tape.gradient(loss, x))


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_graph_and_xla(dtype, jit_compile):
    y, x, valid = random_entries(1000)
    arguments = (tf.constant(y), tf.cast(x, dtype), tf.constant(valid), tf.ones([30]))
    expected = result_and_gradient(*arguments)
    other = tf.function(result_and_gradient, jit_compile=jit_compile)(*arguments)
    for one, two in zip(expected, other, strict=True):
        one, two = tf.cast(one, tf.float32), tf.cast(two, tf.float32)
        assert_close(one, two, of=REDUCTION, scale=1.0)


def test_unknown_shapes_in_a_graph():
    y, x, valid = random_entries(600)
    specs = [tf.TensorSpec([None, None], a.dtype) for a in (y, x)]
    specs.append(tf.TensorSpec([None, 1], tf.bool))
    traced = tf.function(lambda *a: tuple(ghm_c(*a)), input_signature=specs)
    arguments = y.reshape(-1, 5), x.reshape(-1, 5), valid[:120, None]
    for one, two in zip(traced(*arguments), ghm_c(*arguments), strict=True):
        assert_close(one, two, of=ELEMENTWISE)


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_half_types_are_computed_in_float32(dtype):
    y, x, valid = random_entries()
    x = tf.cast(x, dtype)
    narrow = ghm_c(tf.cast(y, dtype), x, valid)
    wide = ghm_c(y, tf.cast(x, tf.float32), valid)
    for one, two in zip(narrow, wide, strict=True):
        assert one.dtype == tf.float32
        np.testing.assert_array_equal(one, two)


def test_class_is_the_function_without_momentum():
    y, x, _ = (a.reshape(8, 15, 5) for a in random_entries(600))
    boxes = np.random.default_rng(2).uniform(size=[8, 15]) < 0.7
    values, total, _ = ghm_c(y, x, boxes[..., None], num_bins=10, momentum=0.0)
    weights = tf.cast(boxes, tf.float32) * 3
    loss = GHMCLoss(10)(y, x, sample_weight=weights)
    assert_close(loss, tf.reduce_sum(values) / total, of=ELEMENTWISE)
    parts = GHMCLoss(10, reduction="none")(y, x, sample_weight=weights)
    assert_close(parts, tf.reduce_sum(values, -1) / total, of=ELEMENTWISE)
    assert_close(GHMCLoss(10)(Y, X), 1.0445573, of=ELEMENTWISE)
    half = GHMCLoss(10, divisor="all")(Y, X, sample_weight=1.0)
    assert_close(half, 0.5222787, of=ELEMENTWISE)


def test_class_in_a_compiled_model():
    y, x, valid = (a[:, None] for a in random_entries(256))
    model = tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=[1])])
    model.compile("sgd", GHMCLoss(10))
    expected = GHMCLoss(10)(y, model(x), sample_weight=valid)
    arguments = {"sample_weight": valid[:, 0], "batch_size": 256, "verbose": 0}
    before = model.get_weights()[0]
    history = model.fit(x, y, **arguments).history
    assert_close(history["loss"], expected, of=REDUCTION)
    assert model.get_weights()[0] != before


def test_class_comes_back_from_its_config():
    loss = GHMCLoss(20, "all", reduction="none", name="classes")
    restored = tf_keras.losses.deserialize(tf_keras.losses.serialize(loss))
    assert isinstance(restored, GHMCLoss)
    assert restored.get_config() == loss.get_config()
    np.testing.assert_array_equal(restored(Y[None], X[None]), loss(Y[None], X[None]))


def test_messages():
    for build in (lambda **kwargs: ghm_c(Y, X, ALL, **kwargs), GHMCLoss):
        with pytest.raises(ValueError, match="num_bins must be at least 1, got 0"):
            build(num_bins=0)
        with pytest.raises(ValueError, match="non_empty, all, got 'paper'"):
            build(divisor="paper")
    for momentum in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\), got"):
            ghm_c(Y, X, ALL, momentum=momentum)
    with pytest.raises(ValueError, match=r"y_true and logits .*\(7,\) and \(8,\)"):
        ghm_c(Y[:7], X, ALL)
    for valid in (ALL[:7], ALL[None], True):
        with pytest.raises(ValueError, match=r"valid must have the shape \(8,\) of"):
            ghm_c(Y, X, valid)
    with pytest.raises(ValueError, match=r"density must have shape \[30\].*\(10,\)"):
        ghm_c(Y, X, ALL, density=tf.zeros([10]))
    with pytest.raises(ValueError, match="sum, none, got 'auto'"):
        GHMCLoss(reduction="auto")
