"""losses.residual_objectness: the product score, two sums, and their divisors."""

import numpy as np
import pytest
import tensorflow as tf
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf.losses.residual_objectness import (
    CLASS_DIVISOR,
    INITIAL_EXPECTED_POSITIVES,
    OBJECTNESS_DIVISOR,
    next_expected_positives,
    residual_objectness,
)
from libra_tf.ops.logits import joint_softmax_logits, product_logits

# A positive of class 0 and a background anchor, objectness plus residual.
OBJECTNESS = np.float32([[1.0 + 0.5], [-2.0 + 0.2]])
CLASSES = np.float32([[1.0, -1.0], [0.7, 0.2]])
FOREGROUND = np.array([True, False])
ONE_HOT = np.float32([[1, 0], [0, 0]])
FAR = np.float32([-1e4, -100, -30, -3, 0, 2, 30, 100, 1e4])


def losses_and_gradients(
    foreground, valid, one_hot=ONE_HOT, objectness=OBJECTNESS, classes=CLASSES
):
    objectness, classes = tf.constant(objectness), tf.constant(classes)
    with tf.GradientTape() as tape:
        tape.watch([objectness, classes])
        sums = residual_objectness(foreground, valid, one_hot, objectness, classes)
        total = sums.objectness_sum + sums.class_sum
    slopes = tape.gradient(total, [objectness, classes])
    return [s.numpy() for s in sums], [s.numpy() for s in slopes]


def test_golden():
    sums, _ = losses_and_gradients(FOREGROUND, [True, True])
    assert_close(sums, [0.354390889, 0.626523375], of=ELEMENTWISE)
    score = tf.sigmoid(product_logits(OBJECTNESS, CLASSES))[0, 0]
    assert_close(score, 0.597694835, of=ELEMENTWISE)


def test_the_classifier_learns_from_foreground_alone():
    _, (by_objectness, by_class) = losses_and_gradients(FOREGROUND, [True, True])
    objectness, classes = tf.sigmoid(OBJECTNESS), tf.sigmoid(CLASSES)
    assert_close(by_objectness, objectness - [[1], [0]], of=REDUCTION)
    assert_close(by_class[0], classes[0] - [1, 0], of=REDUCTION)
    np.testing.assert_array_equal(by_class[1], [0, 0])


def test_ignored_anchors_count_nowhere():
    sums, slopes = losses_and_gradients(FOREGROUND, [True, False])
    assert_close(sums, [0.201413278, 0.626523375], of=ELEMENTWISE)
    assert slopes[0][1] == 0
    sums, slopes = losses_and_gradients([True, True], [False, False])
    np.testing.assert_array_equal(sums, [0, 0])
    np.testing.assert_array_equal(slopes[0], np.zeros([2, 1]))
    np.testing.assert_array_equal(slopes[1], np.zeros([2, 2]))


def test_no_foreground_and_no_anchors():
    sums, slopes = losses_and_gradients([False, False], [True, True])
    assert sums[0] > 0
    assert sums[1] == 0
    np.testing.assert_array_equal(slopes[1], np.zeros([2, 2]))
    none = np.zeros([3, 0], bool)
    sums, _ = losses_and_gradients(
        none, none, tf.zeros([3, 0, 2]), tf.zeros([3, 0, 1]), tf.zeros([3, 0, 2])
    )
    np.testing.assert_array_equal(sums, [0, 0])


def test_a_batch_is_the_sum_of_its_images():
    rng = np.random.default_rng(0)
    objectness = np.float32(rng.normal(size=[3, 20, 1]))
    classes = np.float32(rng.normal(size=[3, 20, 4]))
    labels = rng.integers(-1, 5, size=[3, 20])  # -1 ignored, 4 background
    args = (
        (labels >= 0) & (labels < 4),
        labels >= 0,
        np.eye(5, dtype=np.float32)[labels][..., :4],
        objectness,
        classes,
    )
    batch, _ = losses_and_gradients(*args)
    singles = [losses_and_gradients(*(x[i] for x in args))[0] for i in range(3)]
    assert_close(batch, np.sum(singles, axis=0), of=REDUCTION)


def test_product_logits_against_the_definition():
    a, b = np.meshgrid(np.linspace(-9, 9, 37), np.linspace(-9, 9, 37))
    product = 1 / (1 + np.exp(-a)) / (1 + np.exp(-b))
    expected = np.log(product) - np.log1p(-product)
    result = product_logits(np.float32(a)[..., None], np.float32(b)[..., None])
    assert_close(result[..., 0], expected, of=REDUCTION, scale=1.0)


def test_product_logits_broadcasts_over_the_classes():
    result = product_logits(OBJECTNESS[None], CLASSES[None])
    assert result.shape == [1, 2, 2]
    assert_close(
        tf.sigmoid(result)[0],
        tf.sigmoid(OBJECTNESS) * tf.sigmoid(CLASSES),
        of=REDUCTION,
    )


def test_product_logits_far_out():
    a, b = (tf.constant(x.reshape(-1, 1)) for x in np.meshgrid(FAR, FAR))
    with tf.GradientTape() as tape:
        tape.watch([a, b])
        result = product_logits(a, b)
    slopes = [g.numpy() for g in tape.gradient(result, [a, b])]
    x, y = np.float64(a), np.float64(b)
    expected = -np.logaddexp(np.logaddexp(-x, -y), -x - y)
    assert_close(result, expected, of=ELEMENTWISE, scale=1.0)
    # Shares of the terms: e^-a and e^(-a - b) move with a, e^-b does not.
    by_a, by_b = 1 - np.exp(-y + expected), 1 - np.exp(-x + expected)
    assert_close(slopes, [by_a, by_b], of=REDUCTION, scale=1.0)


def test_joint_softmax_is_a_distribution():
    objectness, classes = OBJECTNESS[None], CLASSES[None]
    joint = joint_softmax_logits(objectness, classes)
    assert joint.shape == [1, 2, 3]
    assert_close(tf.nn.log_softmax(joint), joint, of=ELEMENTWISE, scale=1.0)
    assert_close(
        tf.exp(joint[..., 0]), 1 - tf.sigmoid(objectness)[..., 0], of=ELEMENTWISE
    )


def test_joint_softmax_cross_entropy_is_objectness_plus_class():
    rng = np.random.default_rng(1)
    objectness = np.float32(rng.normal(size=[40, 1]) * 3)
    classes = np.float32(rng.normal(size=[40, 5]) * 3)
    labels = rng.integers(0, 6, size=40)  # 0 background
    joint = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels, joint_softmax_logits(objectness, classes)
    )
    bce = tf.nn.sigmoid_cross_entropy_with_logits(
        np.float32(labels > 0), objectness[:, 0]
    )
    ce = tf.nn.sparse_softmax_cross_entropy_with_logits(
        np.maximum(labels - 1, 0), classes
    )
    expected = bce + tf.where(labels > 0, ce, 0.0)
    assert_close(joint, expected, of=REDUCTION, scale=1.0)


def test_joint_softmax_far_out():
    objectness = tf.constant(FAR.reshape(-1, 1))
    classes = tf.constant(np.stack([FAR[::-1], FAR], axis=1))
    with tf.GradientTape() as tape:
        tape.watch([objectness, classes])
        joint = joint_softmax_logits(objectness, classes)
    assert np.all(np.isfinite(joint))
    for slope in tape.gradient(joint, [objectness, classes]):
        assert np.all(np.isfinite(slope))


def test_expected_positives():
    values = next_expected_positives(100.0, 50, updates=3)
    assert_close(values, [95, 90.5, 86.45], of=ELEMENTWISE)
    second = next_expected_positives(values[-1], tf.constant(50), updates=3)
    # The divisors of the second step, by 20, 10 and 1: 1656.1, 795.245, 76.572.
    assert_close(second, [82.805, 79.5245, 76.57205], of=ELEMENTWISE)
    assert len(next_expected_positives(100.0, 50)) == 1
    assert_close(next_expected_positives(1.0, 0), [1.0], of=ELEMENTWISE)


def test_divisors_of_the_released_code():
    expected = next_expected_positives(INITIAL_EXPECTED_POSITIVES, 50, updates=3)
    np.testing.assert_allclose(expected[0] * OBJECTNESS_DIVISOR, 1900)
    np.testing.assert_allclose(expected[1] * CLASS_DIVISOR, 905)


def all_functions(foreground, valid, one_hot, objectness, classes):
    return (
        *residual_objectness(foreground, valid, one_hot, objectness, classes),
        product_logits(objectness, classes),
        joint_softmax_logits(objectness, classes),
        *next_expected_positives(tf.reduce_sum(one_hot), 7, updates=3),
    )


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla(jit_compile):
    args = [tf.constant(x) for x in (FOREGROUND, [True, True])]
    args += [tf.constant(x) for x in (ONE_HOT, OBJECTNESS, CLASSES)]
    traced = tf.function(all_functions, jit_compile=jit_compile)
    for result, expected in zip(traced(*args), all_functions(*args), strict=True):
        assert_close(result, expected, of=REDUCTION, scale=1.0)


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_half_types_are_computed_in_float32(dtype):
    args = (FOREGROUND, [True, True], ONE_HOT)
    half = [tf.cast(x, dtype) for x in (OBJECTNESS, CLASSES)]
    wide = [tf.cast(x, tf.float32) for x in half]
    for result, expected in zip(
        all_functions(*args, *half), all_functions(*args, *wide), strict=True
    ):
        assert result.dtype == tf.float32
        np.testing.assert_array_equal(result, expected)


def test_messages():
    with pytest.raises(ValueError, match=r"objectness .*\(2,\) and \(2, 2\)"):
        product_logits(OBJECTNESS[:, 0], CLASSES)
    with pytest.raises(ValueError, match=r"objectness .*\(3, 1\) and \(2, 2\)"):
        joint_softmax_logits(tf.zeros([3, 1]), CLASSES)
    for name, bad in (("foreground", 0), ("valid", 1), ("class_targets_one_hot", 2)):
        args = [FOREGROUND, FOREGROUND, ONE_HOT]
        args[bad] = args[bad][:1]
        with pytest.raises(ValueError, match=rf"{name} must have shape .*, got \(1"):
            residual_objectness(*args, OBJECTNESS, CLASSES)
    with pytest.raises(ValueError, match="updates must be at least 1, got 0"):
        next_expected_positives(1.0, 2, updates=0)
