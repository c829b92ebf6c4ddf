"""losses.average_precision: the reference's loop, its gradient, its digits."""

import gc
import importlib
import math
import weakref

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tolerances import ELEMENTWISE, assert_close

from libra_tf.losses.average_precision import AveragePrecisionLoss, average_precision

# Name: scores, labels, interpolated, loss, gradient.
GOLDEN = {
    "plain": (
        [2, 0, 1, -0.5, -3],
        [1, 1, 0, 0, 0],
        True,
        0.1923077,
        [0, -0.1923077, 0.1538462, 0.0384615, 0],
    ),
    "ignored": (
        [3, 0.5, 2, 1, -1, -2, 9],
        [1, 1, 0, 0, 0, 0, -1],
        True,
        0.2333333,
        [0, -0.2333333, 0.1333333, 0.1, 0, 0, 0],
    ),
    "interpolated": (
        [-1, 0, 1.5, 0.5],
        [1, 1, 0, 0],
        True,
        0.5,
        [-0.25, -0.25, 0.2678571, 0.2321429],
    ),
    "raw": (
        [-1, 0, 1.5, 0.5],
        [1, 1, 0, 0],
        False,
        0.5681818,
        [-0.25, -0.3181818, 0.3068182, 0.2613636],
    ),
}


def loss_and_gradient(labels, logits, **kwargs):
    logits = tf.convert_to_tensor(logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = average_precision(tf.constant(labels), logits, **kwargs)
    return loss.numpy(), tape.gradient(loss, logits).numpy()


def one_by_one(labels, scores, delta, interpolated):
    """The walk of the released code over the positives, in float64."""
    scores, labels = np.float64(scores).ravel(), np.asarray(labels).ravel()
    gradient = np.zeros(scores.size)
    positives, negatives = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    if not positives.size:
        return 0.0, gradient
    highest, precisions = 0.0, []
    for i in positives[np.argsort(scores[positives])]:
        step = np.clip((scores - scores[i]) / (2 * delta) + 0.5, 0, 1)
        rank, shares = step[positives].sum() + 0.5, step[negatives]
        precision = rank / (rank + shares.sum())
        shares = shares / (rank + shares.sum())
        if interpolated and precision < highest:
            shares *= (1 - highest) / (1 - precision)
            precision = highest
        highest = max(highest, precision)
        precisions.append(precision)
        gradient[negatives] += shares / positives.size
        gradient[i] = -(1 - precision) / positives.size
    return 1 - np.mean(precisions), gradient


def random_case(rng, size):
    scores = rng.normal(size=size) * rng.choice([0.3, 2.0, 20.0])
    if rng.uniform() < 0.5:
        scores = np.round(scores * 2) / 2  # ties
    share = rng.choice([0.0, 0.05, 0.4, 1.0], p=[0.1, 0.4, 0.4, 0.1])
    ignored = rng.choice([0.0, 0.3])
    labels = np.where(rng.uniform(size=size) < share, 1, 0)
    return np.where(rng.uniform(size=size) < ignored, -1, labels), np.float32(scores)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name):
    scores, labels, interpolated, value, slope = GOLDEN[name]
    loss, gradient = loss_and_gradient(labels, scores, interpolated=interpolated)
    assert_close(loss, value, of=ELEMENTWISE, scale=1.0)
    assert_close(gradient, slope, of=ELEMENTWISE, scale=1.0)


def test_images_are_ranked_together():
    scores, labels = np.float32([[2, 0], [-1, -3]]), np.int32([[1, 0], [1, 0]])
    for image in (0, 1):
        assert loss_and_gradient(labels[image], scores[image])[0] == 0
    loss, gradient = loss_and_gradient(labels, scores)
    assert_close(loss, 1 / 6, of=ELEMENTWISE)
    assert gradient.shape == (2, 2)
    # An image without ground truth gives negatives only, and they count.
    assert loss_and_gradient([[1, 0], [0, 0]], [[0.0, -9.0], [9.0, 9.0]])[0] > 0.6


def test_the_walk_over_the_positives():
    """300 random rankings with ties, ignored entries, no or only positives."""
    rng = np.random.default_rng(0)
    sizes, empty = [5, 40, 130], 0
    for case in range(300):
        labels, scores = random_case(rng, sizes[case % 3])
        delta, interpolated = [1.0, 0.25, 3.0][case % 7 % 3], case % 4 != 0
        value, slope = one_by_one(labels, scores, delta, interpolated)
        loss, gradient = loss_and_gradient(
            labels, scores, delta=delta, interpolated=interpolated
        )
        assert_close(loss, value, of=ELEMENTWISE, scale=1.0)
        assert_close(gradient, slope, of=ELEMENTWISE, scale=1.0)
        assert_close(gradient.sum(), 0, of=ELEMENTWISE, scale=1.0)
        empty += not np.any(labels == 1)
    assert empty > 10


def test_many_positives():
    """Far scores, dense ones and ties, in one ranking."""
    rng = np.random.default_rng(1)
    near, dense = rng.normal(size=1500) * 9, np.round(rng.normal(size=1500) * 50) / 50
    scores = np.float32(np.concatenate([near, dense + 40, [-3e5, 2e4, 7e4, -2e5]]))
    labels = np.int32(rng.uniform(size=scores.size) < 0.3)
    labels[-4:] = [1, 0, 1, 0]
    value, slope = one_by_one(labels, scores, 1.0, True)
    loss, gradient = loss_and_gradient(labels, scores)
    assert_close(loss, value, of=ELEMENTWISE)
    assert_close(gradient, slope, of=ELEMENTWISE, scale=1 / labels.sum())


def test_a_sum_over_millions_keeps_its_digits():
    """In float32 the millionth offset would be rounded to a sixteenth."""
    scores = np.full(2**21, 0.7, np.float32)
    scores[0], labels = 0.0, np.int32(np.arange(scores.size) == 0)
    loss, gradient = loss_and_gradient(labels, scores)
    false_positives = (scores.size - 1) * (0.7 / 2 + 0.5)
    np.testing.assert_allclose(loss, false_positives / (1 + false_positives), 1e-7)
    np.testing.assert_allclose(gradient[1:], loss / (scores.size - 1), rtol=1e-6)


def test_an_eager_tape_keeps_nothing_of_what_lies_between(monkeypatch):
    # By name: as an attribute of `losses` it is the function.
    module = importlib.import_module("libra_tf.losses.average_precision")
    steps, offsets = module.RisingSteps, []
    place = steps.place

    def watched(self, scores):
        result = place(self, scores)
        offsets.append(weakref.ref(result[1]))
        return result

    monkeypatch.setattr(steps, "place", watched)
    logits = tf.linspace(-1.0, 1.0, 50)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = average_precision(np.arange(50) % 2, logits)
        gc.collect()
        assert len(offsets) == 2
        assert not [alive for alive in offsets if alive() is not None]
    assert np.any(tape.gradient(loss, logits))


def test_the_gradient_from_above_multiplies():
    logits = tf.constant([2.0, 0, 1, -0.5, -3])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = 3.0 * average_precision([1, 1, 0, 0, 0], logits) ** 2
    expected = 6 * 0.1923077 * np.array(GOLDEN["plain"][4])
    assert_close(tape.gradient(loss, logits), expected, of=ELEMENTWISE, scale=1.0)


@pytest.mark.parametrize("labels", [[0, 0, 0], [-1, -1, -1], [0, -1, 0], [1, 1, -1]])
def test_no_positives_or_no_negatives(labels):
    loss, gradient = loss_and_gradient(labels, [3.0, 1.0, 2.0])
    assert loss == 0
    np.testing.assert_array_equal(gradient, np.zeros(3))


def test_no_scores():
    loss, gradient = loss_and_gradient(np.zeros([0, 4]), np.zeros([0, 4]))
    assert loss == 0
    assert gradient.shape == (0, 4)
    for jit_compile in (False, True):
        traced = tf.function(average_precision, jit_compile=jit_compile)
        assert traced(tf.zeros([0, 4]), tf.zeros([0, 4])) == 0


def test_ties_count_half():
    """Two positives, three negatives: rank 1.5 and 1.5 false ones for each."""
    loss, gradient = loss_and_gradient([1, 1, 0, 0, 0], [1e5 + 0.1] * 5)
    np.testing.assert_allclose(loss, 0.5)
    np.testing.assert_allclose(gradient, [-1 / 4, -1 / 4, 1 / 6, 1 / 6, 1 / 6])


def test_one_positive():
    loss, gradient = loss_and_gradient([0, 1, 0], [0.5, 0.0, -5.0])
    assert_close(loss, 0.75 / 1.75, of=ELEMENTWISE)
    assert_close(gradient, [0.75 / 1.75, -0.75 / 1.75, 0], of=ELEMENTWISE)


def test_far_scores():
    loss, gradient = loss_and_gradient([1, 0, 1, 0], [1e30, -1e30, -3e38, 3e38])
    np.testing.assert_allclose(loss, 0.5)
    assert_close(gradient, [-0.25, 0.125, -0.25, 0.375], of=ELEMENTWISE)
    for scores in ([np.inf, -np.inf], [-np.inf, np.inf], [np.inf, np.inf]):
        assert np.all(np.isfinite(loss_and_gradient([1, 0], scores)[1]))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_an_undefined_score_is_not_hidden(jit_compile):
    traced = tf.function(average_precision, jit_compile=jit_compile)
    for labels, seen in (([1, 0, 0], 1), ([0, 0, 1], 1), ([-1, 0, 1], 0)):
        logits = tf.constant([math.nan, 2.0, 3.0])
        for function in (traced, average_precision):
            assert math.isnan(function(tf.constant(labels), logits)) == seen


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_half_types_are_computed_in_float32(dtype):
    logits = tf.cast(tf.linspace(-2.0, 3.0, 50), dtype)
    labels = tf.constant(np.arange(50) % 3 == 0, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = average_precision(labels, logits)
    wide, wide_gradient = loss_and_gradient(labels, tf.cast(logits, tf.float32))
    assert loss.dtype == tf.float32
    assert loss == wide
    gradient = tape.gradient(loss, logits)
    assert gradient.dtype == dtype
    gradient = tf.cast(gradient, tf.float32)
    assert_close(gradient, wide_gradient, of=ELEMENTWISE, dtype=dtype.name)


@pytest.mark.parametrize(
    ("whole", "loss_alone"), [(False, False), (False, True), (True, False)]
)
def test_graph_and_xla(whole, loss_alone, monkeypatch):
    module = importlib.import_module("libra_tf.losses.average_precision")
    monkeypatch.setattr(module, "_ROOMS", (20, 90))  # each of three is used below

    @tf.function(jit_compile=whole)
    def traced(labels, logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = average_precision(labels, logits, jit_compile=loss_alone)
        return loss, tape.gradient(loss, logits)

    rng = np.random.default_rng(2)
    scores = np.float32(rng.normal(size=[3, 50, 2]))
    for positive in (0.0, 0.05, 0.2, 1.0):
        labels = np.int32(rng.uniform(size=scores.shape) < positive)
        labels[0, :9] = -1
        loss, gradient = traced(labels, scores)
        value, slope = loss_and_gradient(labels, scores)
        assert_close(loss, value, of=ELEMENTWISE, scale=1.0)
        assert_close(gradient, slope, of=ELEMENTWISE, scale=1.0)


def test_unknown_shapes_in_a_graph():
    specs = [tf.TensorSpec([None, None], t) for t in (tf.int32, tf.float32)]
    traced = tf.function(average_precision, input_signature=specs)
    for shape in ([1, 2], [4, 6], [0, 3]):
        scores = np.float32(np.random.default_rng(3).normal(size=shape))
        labels = np.int32(scores > 0.3)
        expected, _ = loss_and_gradient(labels, -scores)
        assert_close(traced(labels, -scores), expected, of=ELEMENTWISE, scale=1.0)


def test_class_is_the_function():
    scores, labels, _, value, _ = GOLDEN["raw"]
    loss = AveragePrecisionLoss(interpolated=False)
    result = loss(tf.constant([labels]), tf.constant([scores]))
    assert_close(result, value, of=ELEMENTWISE)


def test_class_comes_back_from_its_config():
    loss = AveragePrecisionLoss(0.5, False, False, reduction="sum", name="rank")
    restored = tf_keras.losses.deserialize(tf_keras.losses.serialize(loss))
    assert isinstance(restored, AveragePrecisionLoss)
    assert restored.get_config() == loss.get_config()
    scores, labels = tf.constant([[0.3, 0.1, -0.4]]), tf.constant([[0, 1, 0]])
    assert restored(labels, scores) == loss(labels, scores)
    expected = average_precision(labels, scores, delta=0.5, interpolated=False)
    np.testing.assert_allclose(loss(labels, scores), expected)


@pytest.mark.parametrize("value", [0, -1.0, math.inf, math.nan])
def test_delta_out_of_range(value):
    for build in (
        lambda **kw: average_precision([1], [0.0], **kw),
        AveragePrecisionLoss,
    ):
        with pytest.raises(ValueError, match="delta must be > 0, got"):
            build(delta=value)


def test_messages():
    with pytest.raises(ValueError, match=r"\(2, 4\) and \(2, 1\)"):
        average_precision(tf.zeros([2, 4]), tf.zeros([2, 1]))
