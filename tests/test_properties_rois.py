"""The selection of RoIs by every `SamplingRule` that can be made, of any shape.

Numbers are random from fixed seeds; a few examples run daily, many nightly.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf
from property_checks import (
    JUNK,
    NIGHTLY,
    SEED,
    SHAPES,
    assert_finite,
    assert_same,
    few_or,
)

from libra_tf import samplers
from libra_tf.samplers import rule as rules


def valid_rules():
    """Every way to draw positives with every way to draw negatives that goes."""
    for positives, negatives in itertools.product(rules.POSITIVES, rules.NEGATIVES):
        for without_quota in (False, True):
            try:
                yield samplers.SamplingRule(
                    num_sampled_rois=6,
                    foreground_fraction=0.5,
                    positives=positives,
                    negatives=negatives,
                    without_quota=without_quota,
                )
            except ValueError:
                continue


RULES = {f"{x.positives} {x.negatives} {x.without_quota}": x for x in valid_rules()}
# Daily, no two choices that differ from "random" meet, but where they must.
EVERY_RULE = pytest.mark.parametrize(
    "name",
    [
        name
        if "random" in (x.positives, x.negatives) or x.without_quota or x.draws_nothing
        else pytest.param(name, marks=NIGHTLY)
        for name, x in RULES.items()
    ],
)


def test_every_choice_is_in_a_rule():
    assert {x.positives for x in RULES.values()} == set(rules.POSITIVES)
    assert {x.negatives for x in RULES.values()} == set(rules.NEGATIVES)
    assert any(x.without_quota for x in RULES.values())


GT_BOXES = np.float32([[0, 0, 30, 30], [40, 40, 60, 70], [9, 9, 9, 20]])


def proposals(shape, seed):
    """Boxes, which of them are none, ground truth and its classes."""
    rng = np.random.default_rng(seed)
    images = shape[0]
    truth = np.broadcast_to(GT_BOXES, (images, 3, 4)).copy()
    classes = np.tile(np.int32([1, 2, 1]), (images, 1))
    truth[: seed % 3], classes[: seed % 3] = -1, -1  # images without ground truth
    near = truth[np.arange(images)[:, None], rng.integers(0, 3, shape)]
    boxes = near + rng.normal(0, rng.choice([0.5, 6, 50], (*shape, 1)), (*shape, 4))
    huge = rng.random(shape) < 0.1
    boxes[huge, 2:] = 1e30
    none = rng.random(shape) < 0.3
    empty = rng.random(shape) < 0.1
    boxes[empty, 2:] = boxes[empty, :2]
    boxes[none] = -1
    return boxes.astype(np.float32), none, truth, classes


def junk_head(boxes, junk, none):
    """The head's answer, the same for the same box; junk for what is none."""
    codes = tf.sin(tf.reduce_sum(boxes, axis=-1, keepdims=True) * [1.0, 3.0, 7.0])
    logits = tf.where(none[..., tf.newaxis], junk, 3.0 * codes)
    return samplers.MinedRoIs(logits, tf.where(none[..., tf.newaxis], junk, boxes))


@functools.cache
def selection(name):
    """The selection of boxes of any number, traced once."""
    boxes = tf.TensorSpec([None, None, 4])
    mined = samplers.MinedRoIs(tf.TensorSpec([None, None, 3]), boxes)
    classes = tf.TensorSpec([None, None], tf.int32)

    @tf.function(input_signature=[boxes, boxes, classes, mined], autograph=False)
    def run(boxes, truth, classes, mined):
        return samplers.select_rois(
            boxes, truth, rule=RULES[name], gt_classes=classes, mined=mined, seed=SEED
        )

    return run


@EVERY_RULE
@few_or(21, few=7)
def test_a_selection_of_rois(name, count):
    rule = RULES[name]
    for seed, shape in zip(range(count), itertools.cycle(SHAPES)):
        boxes, none, truth, classes = proposals(shape, seed)

        def select(junk, boxes=boxes, none=none, truth=truth, classes=classes):
            filled = np.where(none[..., np.newaxis], junk, boxes)
            mined = junk_head(boxes, junk, none)
            return selection(name)(filled.astype(np.float32), truth, classes, mined)

        found = select(-1.0)
        assert_selection(found, rule, none)
        for junk in (np.nan, JUNK[1 + seed % 2]):
            again = select(junk)
            assert_same(again._replace(boxes=found.boxes), found)


def assert_selection(found, rule, none):
    """Candidates are boxes; the chosen, as many as the rule says, are of their kind."""
    found = samplers.RoISelection(*[x.numpy() for x in found])
    boxes, iou = found.boxes, found.iou
    assert_finite(iou, found.weights)
    assert (found.weights >= 0).all()
    assert not (found.positive & found.negative).any()
    real = ~none & (boxes[..., 2:] > boxes[..., :2]).all(axis=-1)
    assert not ((found.positive | found.negative) & ~real).any()
    assert (iou[found.positive] >= rule.foreground_iou_threshold).all()
    assert (iou[found.negative] < rule.background_iou_high_threshold).all()
    assert not (found.chosen_positive & ~found.positive).any()
    assert not (found.chosen_negative & ~found.negative).any()
    positives, negatives = (x.sum(axis=1) for x in (found.positive, found.negative))
    if rule.draws_nothing:
        expected = positives, negatives
    else:
        quota = int(rule.num_sampled_rois * rule.foreground_fraction)
        first = np.minimum(positives, quota)
        expected = first, np.minimum(negatives, rule.num_sampled_rois - first)
    chosen = [x.sum(axis=1) for x in (found.chosen_positive, found.chosen_negative)]
    if rule.without_quota:
        wanted = np.minimum(positives + negatives, rule.num_sampled_rois)
        np.testing.assert_array_equal(sum(chosen), wanted)
    else:
        np.testing.assert_array_equal(chosen, expected)


@EVERY_RULE
@few_or(12, few=4)
def test_rows_of_the_roi_sampler(name, count):
    """Chosen boxes are proposals or objects, each once; all else is fill."""
    sampler, rule = samplers.RoISampler(RULES[name]), RULES[name]
    for seed, shape in zip(range(count), itertools.cycle(SHAPES)):
        boxes, none, truth, classes = proposals(shape, seed)
        boxes = np.where(none[..., np.newaxis], np.nan, boxes)
        found = sampler.sample(
            tf.constant(boxes, tf.float32),
            tf.constant(truth),
            tf.constant(classes),
            miner=lambda x: junk_head(x, 0.0, np.zeros(x.shape[:2], bool)),
        )
        labels = found.gt_classes.numpy()
        assert_finite(found.class_weights)
        if not rule.draws_nothing:
            assert labels.shape == (shape[0], rule.num_sampled_rois)
            assert_finite([x for x in found if x is not None])
        given = np.concatenate([boxes, truth], axis=1)
        for image, row in enumerate(labels):
            rois = found.rois.numpy()[image]
            trained = rois[row >= 0]
            known = given[image].tolist()
            for roi in trained.tolist():
                known.remove(roi)  # raises if chosen more often than given
            assert (trained[:, 2:] > trained[:, :2]).all()
            index = found.gt_indices.numpy()[image]
            assert (index[row <= 0] == -1).all()
            np.testing.assert_array_equal(row[row > 0], classes[image, index[row > 0]])
