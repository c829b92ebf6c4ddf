"""losses.distributional_ranking: the released code's numbers, and what it pools."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf.losses.distributional_ranking import (
    NEGATIVE_TEMPERATURE,
    DistributionalRankingLoss,
    distributional_ranking,
)

# Four anchors, two classes; the targets of the anchors are 1, 2, background, ignored.
P = np.array([[0.9, 0.1], [0.3, 0.6], [0.2, 0.05], [0.5, 0.5]])
LOGITS = np.float32(np.log(P / (1 - P)))
LABELS = np.int32([[1, 0], [0, 1], [0, 0], [-1, -1]])
LOSS = 0.530879047
ATTACHED = [
    [-0.0696145, -0.0115496],
    [0.4887921, -0.3414146],
    [0.0172698, -0.0052789],
    [0, 0],
]
DETACHED = [
    [-0.0841093, 0.0114348],
    [0.3268446, -0.3027618],
    [0.0711498, 0.0032259],
    [0, 0],
]
EQUAL_SCORES = 4 / 6 * math.log(1 + math.exp(3))  # 2.032391568


def loss_and_gradient(labels, logits, **kwargs):
    logits = tf.convert_to_tensor(logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = distributional_ranking(tf.constant(labels), logits, **kwargs)
    return loss.numpy(), tape.gradient(loss, logits).numpy()


def hinge(negative, positive):
    return 4 / 6 * math.log1p(math.exp(6 * (negative - positive + 0.5)))


@pytest.mark.parametrize(("detach", "slope"), [(False, ATTACHED), (True, DETACHED)])
def test_golden(detach, slope):
    loss, gradient = loss_and_gradient(LABELS, LOGITS, detach_weights=detach)
    assert_close(loss, LOSS, of=ELEMENTWISE)
    assert_close(loss, hinge(0.260448394, 0.727667245), of=ELEMENTWISE)
    np.testing.assert_allclose(gradient, slope, atol=2e-7)


def test_golden_without_positives():
    """P+ is 1: the loss pushes the negatives down all the same."""
    labels = np.int32([[0, 0], [0, 0], [0, 0], [-1, -1]])
    loss, gradient = loss_and_gradient(labels, LOGITS)
    assert_close(loss, 1.631125553, of=ELEMENTWISE)
    assert_close(loss, hinge(0.892688171, 1.0), of=ELEMENTWISE)
    assert gradient[0, 0] > 0


@pytest.mark.parametrize("prior", [0.5, 0.01, 1e-5])
def test_equal_scores_give_the_same_loss_for_every_prior(prior):
    logits = np.full([50, 3], math.log(prior / (1 - prior)))
    labels = np.int32(np.arange(150).reshape(50, 3) % 17 == 0)
    loss, _ = loss_and_gradient(labels, logits)
    assert_close(loss, EQUAL_SCORES, of=ELEMENTWISE)
    np.testing.assert_allclose(EQUAL_SCORES, 2.032391568, rtol=1e-9)


def test_no_negatives():
    """P- is 0, as the sum over nothing in the released code."""
    labels = np.int32([[1, -1], [-1, 1], [-1, -1], [-1, -1]])
    loss, gradient = loss_and_gradient(labels, LOGITS)
    q = np.exp(-P[[0, 1], [0, 1]])
    assert_close(loss, hinge(0, q @ [0.9, 0.6] / q.sum()), of=ELEMENTWISE)
    assert np.all(np.isfinite(gradient))
    assert gradient[0, 0] < 0


def test_all_ignored_or_no_scores():
    for shape in ([4, 2], [0, 2], [0]):
        loss, gradient = loss_and_gradient(np.full(shape, -1), np.ones(shape))
        assert_close(loss, hinge(0, 1), of=ELEMENTWISE)
        np.testing.assert_array_equal(gradient, np.zeros(shape))


def test_per_image_is_the_mean_over_the_images():
    logits = np.stack([LOGITS, LOGITS[::-1] * 2, LOGITS - 1, LOGITS])
    labels = np.stack([LABELS, LABELS, np.minimum(LABELS, 0), np.full_like(LABELS, -1)])
    alone = [
        loss_and_gradient(*image) for image in zip(labels, logits, strict=True)
    ]  # the third without positives, the fourth ignored
    loss, gradient = loss_and_gradient(labels, logits, per_image=True)
    assert_close(loss, np.mean([value for value, _ in alone]), of=ELEMENTWISE)
    np.testing.assert_allclose(
        gradient, np.stack([slope for _, slope in alone]) / 4, atol=1e-7
    )
    assert abs(loss_and_gradient(labels, logits)[0] - loss) > 0.01
    one = loss_and_gradient(LABELS[None], LOGITS[None], per_image=True)
    assert_close(one[0], LOSS, of=ELEMENTWISE)


def test_per_image_without_images():
    loss, gradient = loss_and_gradient(
        np.zeros([0, 4, 2]), np.zeros([0, 4, 2]), per_image=True
    )
    assert loss == 0
    assert gradient.shape == (0, 4, 2)


@pytest.mark.parametrize("per_image", [False, True])
def test_gradient_against_finite_differences(per_image):
    rng = np.random.default_rng(0)
    logits = np.float32(rng.normal(size=[2, 5, 2]))
    labels = np.int32(rng.uniform(size=logits.shape) < 0.3)
    labels[0, 0] = -1
    _, gradient = loss_and_gradient(labels, logits, per_image=per_image)
    for index in np.ndindex(logits.shape):
        step = np.zeros_like(logits)
        step[index] = 0.01
        high, _ = loss_and_gradient(labels, logits + step, per_image=per_image)
        low, _ = loss_and_gradient(labels, logits - step, per_image=per_image)
        np.testing.assert_allclose(gradient[index], (high - low) / 0.02, atol=2e-4)


def test_temperatures_to_their_limits():
    """Very small ones leave the worst positive and the worst negative; large, means."""
    small = {"positive_temperature": 1e-3, "negative_temperature": 1e-3}
    loss, _ = loss_and_gradient(LABELS, LOGITS, **small)
    assert_close(loss, hinge(0.3, 0.6), of=REDUCTION)
    large = {"positive_temperature": 1e4, "negative_temperature": 1e4}
    loss, _ = loss_and_gradient(LABELS, LOGITS, **large)
    np.testing.assert_allclose(loss, hinge(0.65 / 4, 0.75), rtol=1e-4)


@pytest.mark.parametrize("far", [1e4, 1e38])
def test_far_logits(far):
    logits = far * np.float32([[1, -1], [-1, 1], [1, -1], [1, 1]])
    for labels in (LABELS, 0 * LABELS, 0 * LABELS + 1, 0 * LABELS - 1):
        for per_image in (False, True):
            loss, gradient = loss_and_gradient(labels, logits, per_image=per_image)
            assert np.isfinite(loss)
            assert np.all(np.isfinite(gradient))
    loss, _ = loss_and_gradient([1, 0], [-far, far])
    assert_close(loss, hinge(1, 0), of=ELEMENTWISE)
    loss, _ = loss_and_gradient([1, 0], [-far, far], smoothing=1e4)
    assert_close(loss, 4 * 1.5, of=ELEMENTWISE)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_empty_and_undefined_in_a_graph(jit_compile):
    for per_image in (False, True):
        traced = tf.function(
            lambda *x, per_image=per_image: distributional_ranking(
                *x, per_image=per_image
            ),
            jit_compile=jit_compile,
        )
        none = tf.zeros([0, 4])
        expected = distributional_ranking(none, none, per_image=per_image)
        assert_close(traced(none, none), expected, of=ELEMENTWISE)
        for label in (0, 1):
            logits = tf.where(tf.equal(LABELS, label), math.nan, LOGITS)
            assert math.isnan(traced(tf.constant(LABELS), logits))


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_half_types_are_computed_in_float32(dtype):
    logits = tf.cast(LOGITS, dtype)
    loss = distributional_ranking(LABELS, logits)
    assert loss.dtype == tf.float32
    assert loss == loss_and_gradient(LABELS, tf.cast(logits, tf.float32))[0]


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla(jit_compile, per_image):
    @tf.function(jit_compile=jit_compile)
    def traced(labels, logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = distributional_ranking(labels, logits, per_image=per_image)
        return loss, tape.gradient(loss, logits)

    for labels in (LABELS, np.minimum(LABELS, 0), 0 * LABELS - 1):
        loss, gradient = traced(labels, LOGITS)
        value, slope = loss_and_gradient(labels, LOGITS, per_image=per_image)
        assert_close(loss, value, of=ELEMENTWISE)
        assert_close(gradient, slope, of=ELEMENTWISE, scale=1.0)


def test_unknown_shapes_in_a_graph():
    specs = [tf.TensorSpec([None, None], t) for t in (tf.int32, tf.float32)]
    for per_image in (False, True):
        traced = tf.function(
            lambda *x, per_image=per_image: distributional_ranking(
                *x, per_image=per_image
            ),
            input_signature=specs,
        )
        expected, _ = loss_and_gradient(LABELS, LOGITS, per_image=per_image)
        assert_close(traced(LABELS, LOGITS), expected, of=ELEMENTWISE)


def test_class_comes_back_from_its_config():
    loss = DistributionalRankingLoss(
        0.8, 0.2, 5.0, 3.0, 0.4, True, True, reduction="sum", name="rank"
    )
    restored = tf_keras.losses.deserialize(tf_keras.losses.serialize(loss))
    assert isinstance(restored, DistributionalRankingLoss)
    assert restored.get_config() == loss.get_config()
    expected = distributional_ranking(
        LABELS,
        LOGITS,
        positive_temperature=0.8,
        negative_temperature=0.2,
        smoothing=5.0,
        scale=3.0,
        margin=0.4,
        detach_weights=True,
        per_image=True,
    )
    for each in (loss, restored):
        assert_close(each(LABELS, LOGITS), expected, of=ELEMENTWISE)
    default = DistributionalRankingLoss()
    assert default.negative_temperature == NEGATIVE_TEMPERATURE
    assert_close(NEGATIVE_TEMPERATURE, 0.07982356, of=ELEMENTWISE)
    assert_close(default(LABELS, LOGITS), LOSS, of=ELEMENTWISE)


@pytest.mark.parametrize(
    "name", ["positive_temperature", "negative_temperature", "smoothing", "scale"]
)
@pytest.mark.parametrize("value", [0, -1.0, math.inf, math.nan])
def test_numbers_out_of_range(name, value):
    for build in (
        lambda **kwargs: distributional_ranking([1], [0.0], **kwargs),
        DistributionalRankingLoss,
    ):
        with pytest.raises(ValueError, match=rf"{name} must be > 0, got"):
            build(**{name: value})


def test_messages():
    with pytest.raises(ValueError, match=r"\(2, 4\) and \(2, 1\)"):
        distributional_ranking(tf.zeros([2, 4]), tf.zeros([2, 1]))
    with pytest.raises(ValueError, match="margin must be finite, got nan"):
        DistributionalRankingLoss(margin=math.nan)
    with pytest.raises(ValueError, match="images in axis 0"):
        distributional_ranking(1, 0.0, per_image=True)
