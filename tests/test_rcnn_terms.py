"""criteria.rcnn_terms: hand values, divisors, and rows that must not count."""

import math

import numpy as np
import pytest
import tensorflow as tf
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf.criteria.box import elementwise_box_loss
from libra_tf.criteria.rcnn_terms import (
    flatten_levels,
    rcnn_box_count,
    rcnn_box_errors,
    rcnn_box_loss,
    rcnn_class_loss,
    rcnn_entropies,
    sampled_anchor_losses,
)
from libra_tf.experiments import loss_config
from libra_tf.losses import balanced_l1, l1, smooth_l1
from libra_tf.ops.per_class import deltas_of_class

LN2 = math.log(2)
BOX_LOSSES = {"balanced_l1": balanced_l1, "smooth_l1": smooth_l1, "l1": l1}


def levels(labels):
    """One row of anchors per image, split into level 2 (all but one) and level 10."""
    labels = np.asarray(labels, np.float32)[:, np.newaxis, :, np.newaxis]
    return {"10": tf.constant(labels[:, :, -1:]), "2": tf.constant(labels[:, :, :-1])}


def rpn(labels, *, logit=0.0, error=0.0, beta=1.0, **kwargs):
    """The two losses where every logit and every box error is the same."""
    targets = levels(labels)
    scores = {k: tf.fill(v.shape, logit) for k, v in targets.items()}
    boxes = {k: tf.zeros([*v.shape[:3], 4]) for k, v in targets.items()}
    wanted = {k: v + error for k, v in boxes.items()}
    class_loss, box_loss = sampled_anchor_losses(
        scores, boxes, targets, wanted, beta=beta, **kwargs
    )
    return class_loss.numpy(), box_loss.numpy()


def test_levels_are_joined_by_number_and_not_by_text():
    joined = flatten_levels(levels([[1, 2, 3], [4, 5, 6]]))
    assert joined.numpy().tolist() == [[1, 2, 3], [4, 5, 6]]
    boxes = {"3": tf.reshape(tf.range(16.0), [1, 1, 2, 8])}
    assert flatten_levels(boxes, 4).numpy().tolist() == [
        [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]
    ]


def test_rpn_loss_is_a_mean_over_the_sampled_anchors():
    # 2 positives and 2 negatives sampled, 1 not: 4 * ln 2 / 4.
    class_loss, box_loss = rpn([[1, 1, 0, 0, -1]], error=3.0)
    assert_close(class_loss, LN2, of=ELEMENTWISE)
    # Smooth L1 of 3 is 2.5; 4 coordinates of 2 positives, over 4 anchors.
    assert_close(box_loss, 2 * 4 * 2.5 / 4, of=ELEMENTWISE)


def test_rpn_scores_are_pushed_to_their_label():
    low, _ = rpn([[0, 0, -1]], logit=-3.0)
    # No positive: one is counted, so 2 entries are divided by 3.
    assert_close(low, 2 * math.log1p(math.exp(-3)) / 3, of=ELEMENTWISE)
    high, _ = rpn([[1, 1, -1]], logit=-3.0)
    assert_close(high, 2 * (3 + math.log1p(math.exp(-3))) / 3, of=ELEMENTWISE)


def test_rpn_counts_at_least_one_of_each_kind_in_every_image():
    # Images: 2+1, then no positive (1+2), then nothing sampled (1+1): 8 in all.
    labels = [[1, 1, 0, -1], [0, 0, -1, -1], [-1, -1, -1, -1]]
    class_loss, box_loss = rpn(labels, error=0.5)
    assert_close(class_loss, 5 * LN2 / 8, of=ELEMENTWISE)
    assert_close(box_loss, 2 * 4 * 0.125 / 8, of=ELEMENTWISE)


def test_rpn_box_loss_has_its_beta():
    _, loss = rpn([[1, 0]], error=1.0, beta=1 / 9)
    assert_close(loss, 4 * (1 - 1 / 18) / 2, of=ELEMENTWISE)


def test_rpn_of_an_image_without_positives_has_no_box_gradient():
    targets = levels([[0, 0, -1]])
    scores = {k: tf.zeros_like(v) for k, v in targets.items()}
    boxes = {k: tf.ones([*v.shape[:3], 4]) for k, v in targets.items()}
    with tf.GradientTape() as tape:
        tape.watch(boxes)
        _, loss = sampled_anchor_losses(
            scores, boxes, targets, {k: 0 * v for k, v in boxes.items()}, beta=1.0
        )
    assert loss.numpy() == 0
    for gradient in tape.gradient(loss, boxes).values():
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


def class_loss_and_gradient(logits, targets):
    logits = tf.constant(logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = rcnn_class_loss(logits, tf.constant(targets))
    return loss.numpy(), tape.gradient(loss, logits).numpy()


def test_class_loss_is_cross_entropy_over_the_sampled_rois():
    logits = np.log([[[1.0, 1.0, 2.0], [3.0, 1.0, 4.0]]])
    loss, gradient = class_loss_and_gradient(logits, [[2, 0]])
    expected = (math.log(4 / 2) + math.log(8 / 3)) / 2
    assert_close(loss, expected, of=ELEMENTWISE)
    assert_close(gradient[0, 0], np.array([1 / 4, 1 / 4, 2 / 4 - 1]) / 2, of=REDUCTION)


def test_class_loss_ignores_rows_that_no_candidate_filled():
    rows = np.random.default_rng(0).normal(size=[2, 3, 4])
    targets = np.array([[1, 0, 3], [2, -1, -1]])
    loss, gradient = class_loss_and_gradient(rows, targets)
    kept = targets >= 0
    alone, _ = class_loss_and_gradient(rows[kept][np.newaxis], targets[kept][None])
    assert_close(loss, alone, of=ELEMENTWISE)
    assert np.all(gradient[~kept] == 0)
    assert np.all(np.abs(gradient[kept]).sum(-1) > 0)


def test_class_loss_of_an_empty_image_is_zero():
    loss, gradient = class_loss_and_gradient(np.ones([1, 2, 3]), [[-1, -1]])
    assert loss == 0
    assert np.all(gradient == 0)


def test_the_boxes_of_the_target_class_are_picked():
    # Class c of RoI n predicts 10 n + c in all four coordinates.
    values = 10 * np.arange(3)[:, None] + np.arange(3)
    outputs = tf.constant(np.repeat(values, 4, axis=1)[np.newaxis], tf.float32)
    picked = deltas_of_class(outputs, tf.constant([[2, 0, 1]]))
    assert picked.numpy().tolist() == [[[2] * 4, [10] * 4, [21] * 4]]


def test_a_class_agnostic_head_has_nothing_to_pick():
    outputs = tf.random.stateless_normal([2, 3, 4], [0, 1])
    picked = deltas_of_class(outputs, tf.constant([[2, 0, 1], [0, 0, 5]]))
    np.testing.assert_array_equal(picked, outputs)


def box_loss_and_gradient(
    outputs, classes, targets, normalizer="reference", elementwise=l1
):
    outputs = tf.constant(outputs, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        loss = rcnn_box_loss(
            outputs,
            tf.constant(classes),
            tf.constant(targets, tf.float32),
            elementwise=elementwise,
            normalizer=normalizer,
        )
    return loss.numpy(), tape.gradient(loss, outputs).numpy()


@pytest.mark.parametrize(
    # 2 foreground and 1 background RoI, 1 empty row; the L1 sums are 4 and 8.
    ("normalizer", "expected"),
    [("reference", 12 / 3), ("tfm", 12 / 8)],
)
def test_box_loss_normalizers(normalizer, expected):
    outputs = np.zeros([2, 2, 12])
    targets = [[[1] * 4, [2] * 4], [[5] * 4, [7] * 4]]
    loss, gradient = box_loss_and_gradient(
        outputs, [[1, 2], [0, -1]], targets, normalizer
    )
    assert_close(loss, expected, of=ELEMENTWISE)
    assert np.all(gradient[0, 0, 4:8] < 0)
    assert np.all(gradient[0, 1, 8:12] < 0)
    assert np.count_nonzero(gradient) == 8


@pytest.mark.parametrize("normalizer", ["reference", "tfm"])
@pytest.mark.parametrize("classes", [[[0, 0]], [[-1, -1]]])
def test_box_loss_of_an_image_without_foreground_is_zero(normalizer, classes):
    loss, gradient = box_loss_and_gradient(
        np.ones([1, 2, 4]), classes, np.zeros([1, 2, 4]), normalizer
    )
    assert loss == 0
    np.testing.assert_array_equal(gradient, np.zeros([1, 2, 4]))


@pytest.mark.parametrize("beta", [0.2, 2.0])
def test_smooth_l1_has_the_threshold_of_the_settings(beta):
    config = loss_config.BoxLoss(type="smooth_l1", beta=beta)
    errors = tf.constant([0.1, 1.0, 3.0])
    found = elementwise_box_loss(config)(tf.zeros(3), errors)
    assert_close(found, smooth_l1(tf.zeros(3), errors, beta=beta), of=ELEMENTWISE)
    assert found[1] != smooth_l1(0.0, 1.0, beta=1.0)


@pytest.mark.parametrize("elementwise", BOX_LOSSES.values(), ids=BOX_LOSSES)
@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["targets", "outputs"])
def test_rows_without_a_target_may_hold_anything(elementwise, junk, where):
    clean = np.full([1, 3, 8], 0.3), np.full([1, 3, 4], 0.1)
    dirty = [array.copy() for array in clean]
    dirty[where == "targets"][0, 1:] = junk
    classes = [[1, 0, -1]]
    expected = box_loss_and_gradient(
        clean[0], classes, clean[1], elementwise=elementwise
    )
    found = box_loss_and_gradient(dirty[0], classes, dirty[1], elementwise=elementwise)
    assert expected[0] > 0
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_bfloat16_outputs_give_float32_losses():
    rng = np.random.default_rng(1)
    logits = tf.cast(tf.constant(rng.normal(size=[1, 4, 3])), tf.bfloat16)
    boxes = tf.cast(tf.constant(rng.normal(size=[1, 4, 12])), tf.bfloat16)
    classes, targets = tf.constant([[1, 2, 0, -1]]), tf.zeros([1, 4, 4])

    def loss(boxes):
        return rcnn_box_loss(
            boxes, classes, targets, elementwise=smooth_l1, normalizer="reference"
        )

    assert loss(boxes).dtype == tf.float32
    assert_close(loss(boxes), loss(tf.cast(boxes, tf.float32)), of=ELEMENTWISE)
    wide = rcnn_class_loss(tf.cast(logits, tf.float32), classes)
    half = rcnn_class_loss(logits, classes)
    assert half.dtype == tf.float32
    assert_close(half, wide, of=ELEMENTWISE)


def test_bfloat16_scores_of_the_rpn():
    targets = levels([[1, 0, 0, -1]])
    scores = {
        k: tf.fill(v.shape, tf.bfloat16.as_numpy_dtype(2)) for k, v in targets.items()
    }
    boxes = {k: tf.ones([*v.shape[:3], 4], tf.bfloat16) for k, v in targets.items()}
    zeros = {k: tf.zeros(v.shape) for k, v in boxes.items()}
    class_loss, box_loss = sampled_anchor_losses(
        scores, boxes, targets, zeros, beta=1.0
    )
    assert (class_loss.dtype, box_loss.dtype) == (tf.float32, tf.float32)
    expected = (3 * math.log1p(math.exp(-2)) + 2 * 2) / 3
    assert_close(class_loss, expected, of=ELEMENTWISE)
    assert_close(box_loss, 4 * 0.5 / 3, of=ELEMENTWISE)


def test_graph_with_unknown_batch():
    traced = tf.function(
        lambda outputs, classes, targets: rcnn_box_loss(
            outputs, classes, targets, elementwise=l1, normalizer="reference"
        ),
        input_signature=[
            tf.TensorSpec([None, 2, 8]),
            tf.TensorSpec([None, 2], tf.int32),
            tf.TensorSpec([None, 2, 4]),
        ],
    )
    loss = traced(tf.zeros([3, 2, 8]), tf.constant([[1, 0]] * 3), tf.ones([3, 2, 4]))
    np.testing.assert_allclose(loss, 3 * 4 / 6)


def test_rpn_box_loss_divided_by_the_coordinates_of_the_positives():
    labels = [[1, 1, 0, 0, -1], [0, 1, 0, -1, -1]]
    plain, _ = rpn(labels, error=3.0)
    class_loss, box_loss = rpn(labels, error=3.0, normalizer="positives")
    np.testing.assert_array_equal(class_loss, plain)
    # Smooth L1 of 3 is 2.5 in each of the 12 coordinates.
    assert_close(box_loss, 2.5, of=ELEMENTWISE)
    assert rpn([[0, 0, -1]], error=3.0, normalizer="positives")[1] == 0


def test_the_positives_do_not_care_how_many_are_sampled():
    few = rpn([[1, 0]], error=0.4, normalizer="positives")[1]
    many = rpn([[1] + [0] * 500], error=0.4, normalizer="positives")[1]
    assert_close(few, many, of=ELEMENTWISE)
    assert rpn([[1] + [0] * 500], error=0.4)[1] < 0.01 * few


@pytest.mark.parametrize(
    ("normalizer", "expected"), [("reference", 3), ("tfm", 8), ("positives", 8)]
)
def test_box_counts(normalizer, expected):
    classes = tf.constant([[1, 2], [0, -1]])
    assert float(rcnn_box_count(classes, normalizer)) == expected
    none = tf.constant([[-1, -1]])
    least = 1 if normalizer == "reference" else 0.01
    assert float(rcnn_box_count(none, normalizer)) == pytest.approx(least)


def test_box_errors_are_those_of_the_foreground():
    outputs, targets = np.zeros([1, 3, 12]), np.full([1, 3, 4], 2.0)
    outputs[0, 0, 8:] = 5  # class 2
    errors = rcnn_box_errors(
        tf.constant(outputs, tf.float32), tf.constant([[2, 0, -1]]), targets, l1
    )
    np.testing.assert_array_equal(errors, [[[3] * 4, [0] * 4, [0] * 4]])


def test_weights_multiply_the_entropies_and_not_the_divisor():
    rng = np.random.default_rng(3)
    logits = tf.constant(rng.normal(size=[2, 3, 4]), tf.float32)
    classes = tf.constant([[1, 0, 3], [2, -1, 0]])
    weights = tf.constant([[2.0, 0.5, 1], [0, 7, 3]])
    entropies = rcnn_entropies(logits, classes)
    # Row [1, 1] is no RoI: its weight does not count.
    expected = tf.reduce_sum(
        entropies * weights * tf.constant([[1.0, 1, 1], [1, 0, 1]])
    )
    with tf.GradientTape() as tape:
        tape.watch([logits, weights])
        loss = rcnn_class_loss(logits, classes, weights)
    assert_close(loss, expected / 5, of=ELEMENTWISE)
    gradient = tape.gradient(loss, logits).numpy()
    assert not np.any(gradient[1, :2])
    ones = rcnn_class_loss(logits, classes, tf.ones_like(weights))
    np.testing.assert_array_equal(ones, rcnn_class_loss(logits, classes))
