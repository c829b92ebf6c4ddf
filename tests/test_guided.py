"""losses.guided: the value of the box loss, the direction of the class loss."""

import math

import numpy as np
import pytest
import tensorflow as tf
from tolerances import ELEMENTWISE, assert_close

from libra_tf.losses.guided import FACTOR, ROI_FACTOR, guided
from libra_tf.ops.logits import optimal_bias


def gradients(class_loss, box_loss, **kwargs):
    class_loss = tf.convert_to_tensor(class_loss)
    box_loss = tf.convert_to_tensor(box_loss)
    with tf.GradientTape() as tape:
        tape.watch([class_loss, box_loss])
        loss = guided(class_loss, box_loss, **kwargs)
    by_class, by_box = tape.gradient(loss, [class_loss, box_loss])
    return loss.numpy(), by_class.numpy(), by_box


@pytest.mark.parametrize(("factor", "value"), [(FACTOR, 0.2), (ROI_FACTOR, 0.4)])
def test_golden(factor, value):
    loss, by_class, by_box = gradients(0.8, 0.2, factor=factor)
    assert_close(loss, value, of=ELEMENTWISE)
    assert_close(by_class, value / 0.8, of=ELEMENTWISE)
    assert by_box is None


def test_the_gradient_of_the_logits_is_a_quarter_of_plain_cross_entropy():
    logits = tf.Variable([0.3, -1.0, 2.0])
    with tf.GradientTape(persistent=True) as tape:
        plain = tf.reduce_sum(
            tf.nn.sigmoid_cross_entropy_with_logits([1.0, 0, 0], logits)
        )
        box_loss = 0.25 * plain  # of the same weights: none of it may come through
        loss = guided(plain, box_loss)
    assert_close(
        tape.gradient(loss, logits), 0.25 * tape.gradient(plain, logits), of=ELEMENTWISE
    )
    assert_close(loss, box_loss, of=ELEMENTWISE)


def test_a_normaliser_of_the_class_loss_cancels():
    one, quarter = gradients(0.8, 0.2), gradients(0.8 / 4, 0.2)
    assert_close(one[0], quarter[0], of=ELEMENTWISE)
    assert_close(one[1], quarter[1] / 4, of=ELEMENTWISE)


@pytest.mark.parametrize(
    ("class_loss", "box_loss"), [(0.0, 0.2), (0.0, 0.0), (0.8, 0.0)]
)
def test_zero_losses(class_loss, box_loss):
    loss, by_class, _ = gradients(class_loss, box_loss)
    assert loss == 0
    assert by_class == 0


def test_huge_ratios_are_finite():
    loss, by_class, _ = gradients([1e-30, 1e-44], [1e30, 1.0])
    assert np.all(np.isfinite(loss))
    assert np.all(np.isfinite(by_class))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_undefined_losses_are_not_hidden(jit_compile):
    traced = tf.function(guided, jit_compile=jit_compile)
    for pair in ((math.nan, 0.2), (0.8, math.nan)):
        assert math.isnan(gradients(*pair)[0])
        assert math.isnan(traced(*(tf.constant(x) for x in pair)))


def test_replicas_take_the_ratio_of_the_means():
    """Two replicas: together what one with both halves of the batch would do."""
    class_losses, box_losses = np.float32([0.8, 0.1]), np.float32([0.2, 0.5])
    together, by_class, _ = gradients(class_losses.mean(), box_losses.mean())
    each = [
        gradients(
            class_losses[i],
            box_losses[i],
            global_class_loss=class_losses.mean(),
            global_box_loss=box_losses.mean(),
        )
        for i in (0, 1)
    ]
    assert_close(np.mean([loss for loss, _, _ in each]), together, of=ELEMENTWISE)
    assert_close([slope for _, slope, _ in each], by_class, of=ELEMENTWISE)
    assert abs(by_class - (0.2 / 0.8 + 0.5 / 0.1) / 2) > 1
    nothing = {"global_class_loss": 0.0, "global_box_loss": 1.0}
    assert gradients(0.8, 0.2, **nothing)[1] == 0


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_half_types_are_computed_in_float32(dtype):
    class_loss, box_loss = tf.constant(0.8, dtype), tf.constant(0.2, dtype)
    loss, by_class, _ = gradients(class_loss, box_loss)
    assert loss.dtype == np.float32
    assert_close(loss, tf.cast(box_loss, tf.float32), of=ELEMENTWISE)
    assert by_class.dtype == dtype.as_numpy_dtype


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla(jit_compile):
    traced = tf.function(guided, jit_compile=jit_compile)
    class_losses, box_losses = tf.constant([0.8, 0.0, 3.0]), tf.constant([0.2, 1.0, 0])
    assert_close(
        traced(class_losses, box_losses),
        guided(class_losses, box_losses),
        of=ELEMENTWISE,
    )


@pytest.mark.parametrize(
    ("num_foreground", "num_anchors", "num_classes", "bias"),
    [
        (8, 10_000, 80, -11.512915),  # RetinaNet on COCO, pi = 1e-5
        (2, 10_000, 1, -8.516993),  # RPN on COCO, pi = 2e-4
        (14, 10_000, 20, -9.566945),  # RetinaNet on Pascal VOC, pi = 7e-5
        (1, 20_000, 1, -9.903438),  # RPN on Pascal VOC, pi = 5e-5
        (1, 2, 1, 0.0),
    ],
)
def test_published_biases(num_foreground, num_anchors, num_classes, bias):
    result = optimal_bias(num_foreground, num_anchors, num_classes)
    assert isinstance(result, float)
    assert result == pytest.approx(bias, abs=5e-7)


def test_the_bias_minimises_the_initial_loss():
    """1e5 anchors, 80 classes, 100 foreground: 12.29 per foreground, 808.6 at 0.01."""

    def initial_loss(bias):
        negatives = 100_000 * 80 - 100
        return np.log1p(np.exp(-bias)) + negatives / 100 * np.log1p(np.exp(bias))

    best = optimal_bias(100, 100_000, 80)
    assert initial_loss(best) == pytest.approx(12.29, abs=0.005)
    assert initial_loss(-math.log(99)) == pytest.approx(808.6, abs=0.05)
    assert initial_loss(best) < min(
        initial_loss(best - 0.01), initial_loss(best + 0.01)
    )


def test_messages():
    with pytest.raises(ValueError, match="factor must be > 0, got 0"):
        guided(0.8, 0.2, factor=0)
    with pytest.raises(ValueError, match=r"\(2,\) and \(\)"):
        guided([0.8, 0.1], 0.2)
    with pytest.raises(ValueError, match="given together"):
        guided(0.8, 0.2, global_box_loss=0.3)
    with pytest.raises(ValueError, match="num_foreground must be > 0, got 0"):
        optimal_bias(0, 100, 1)
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        optimal_bias(1, 100, 0)
    with pytest.raises(ValueError, match=r"num_anchors must be at least .* 5, got 4"):
        optimal_bias(5, 4, 3)
    with pytest.raises(ValueError, match="num_anchors must exceed"):
        optimal_bias(4, 4, 1)
