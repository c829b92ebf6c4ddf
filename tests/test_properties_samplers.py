"""Every draw of candidates and of anchors, of any shape: as many as wanted.

`property_samplers` says how each is called. Numbers are random from fixed seeds; a few
examples run daily, many nightly.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from property_checks import JUNK, SEED, SHAPES, assert_finite, assert_same, few_or
from property_samplers import (
    ANCHOR_DRAWS,
    DRAWS,
    NUM_BINS,
    UPPER,
    Pool,
    kept_anchors,
    random_pool,
    spoiled,
)
from tolerances import REDUCTION, assert_close

from libra_tf.samplers import score_ranked


def pools(count):
    shares = (0.5, 0.0, 1.0, 0.1)
    for seed, shape in zip(range(count), itertools.cycle(SHAPES)):
        # (Shapes and shares go round with seven and four: every pair is met.)
        yield seed, random_pool(shape, shares[seed % len(shares)], seed)


@functools.cache
def draw(name):
    """Draws `n` of each image of a pool of any shape, traced once."""
    example = random_pool((1, 1), 1.0, 0)
    specs = [tf.TensorSpec([None, None, *x.shape[2:]], x.dtype) for x in example]
    signature = [Pool(*specs), tf.TensorSpec([], tf.int32)]

    @tf.function(input_signature=signature, autograph=False)
    def run(pool, n):
        return DRAWS[name](pool, n, SEED)

    return run


@pytest.mark.parametrize("name", DRAWS)
@few_or(120, few=28)
def test_a_draw(name, count):
    """Only candidates, as many as wanted or all, whatever the others hold."""
    for seed, pool in pools(count):
        wanted = (3, 0, 1, 40, 6)[seed % 5]
        chosen = draw(name)(pool, wanted).numpy()
        candidates = pool.candidates.numpy()
        assert not (chosen & ~candidates).any()
        expected = np.minimum(candidates.sum(axis=1), wanted)
        np.testing.assert_array_equal(chosen.sum(axis=1), expected)
        again = draw(name)(spoiled(pool, JUNK[seed % len(JUNK)]), wanted)
        np.testing.assert_array_equal(again, chosen)


@pytest.mark.parametrize("name", ["iou_balanced", "iou_balanced_published"])
@few_or(120, few=28)
def test_every_bin_gives_its_share(name, count):
    """floor(n / K) of each, or all it has."""
    for seed, pool in pools(count):
        wanted = (3, 7, 12)[seed % 3]
        chosen = draw(name)(pool, wanted).numpy()
        bins = np.floor(pool.iou.numpy() * NUM_BINS / UPPER)
        for k in range(NUM_BINS):
            members = pool.candidates.numpy() & (bins == k)
            share = np.minimum(members.sum(axis=1), wanted // NUM_BINS)
            assert np.all((chosen & members).sum(axis=1) >= share)


@few_or(120, few=28)
def test_every_instance_gives_its_share(count):
    """round(n / G) + 1 or all it has, if that fits; else none gives more."""
    for seed, pool in pools(count):
        wanted = (3, 7, 12)[seed % 3]
        chosen = draw("instance_balanced")(pool, wanted).numpy()
        for image, candidates in enumerate(pool.candidates.numpy()):
            numbers = pool.instances.numpy()[image]
            owned = np.bincount(numbers[candidates], minlength=4)
            drawn = np.bincount(numbers[chosen[image]], minlength=4)
            quota = round(wanted / max(np.count_nonzero(owned), 1)) + 1
            share = np.minimum(owned, quota)
            if share.sum() <= wanted:
                assert np.all(drawn >= share)
            else:
                assert np.all(drawn <= share)


@few_or(120, few=28)
def test_nothing_harder_is_left(count):
    for seed, pool in pools(count):
        chosen = draw("hardest")(pool, (3, 7, 12)[seed % 3]).numpy()
        left = pool.candidates.numpy() & ~chosen
        values = pool.values.numpy()
        lowest = np.where(chosen, values, np.inf).min(axis=1, initial=np.inf)
        highest = np.where(left, values, -np.inf).max(axis=1, initial=-np.inf)
        assert np.all(lowest >= highest)


@few_or(100, few=28)
def test_weights_of_a_ranked_draw(count):
    """Finite, 0 where not chosen, and the total of the chosen stays."""

    @tf.function(reduce_retracing=True, autograph=False)
    def ranked(scores, boxes, candidates, values):
        return score_ranked.isr_negative_sample(
            scores, boxes, candidates, 5, values, seed=SEED
        )

    for _, pool in pools(count):
        # Tame: a total of 1e30 hides what is wrong with one of 1.
        pool = pool._replace(values=tf.minimum(pool.values, 10.0))
        chosen, weights = ranked(pool.scores, pool.boxes, pool.candidates, pool.values)
        assert_finite(weights)
        chosen, weights = chosen.numpy(), weights.numpy()
        assert (weights >= 0).all()
        assert not weights[~chosen].any()
        values = np.where(chosen, pool.values, 0).sum(axis=1)
        weighted = np.where(chosen, weights * pool.values, 0).sum(axis=1)
        assert_close(weighted, values, of=REDUCTION)


ANCHOR_SIZES = ([(1, 1)], [(3, 5), (2, 3), (1, 1)], [(0, 4), (1, 1)], [(7, 9), (1, 3)])


def anchor_batch(seed, sizes):
    """Labels and anchors of levels with two anchors a cell, and ground truth."""
    rng = np.random.default_rng(seed)
    images = (2, 1, 3, 0)[seed % 4]
    shares = ((0.1, 0.6, 0.3), (0, 1, 0), (0, 0, 1), (0.7, 0.3, 0))[seed // 4 % 4]
    labels, anchors = {}, {}
    for level, size in enumerate(sizes, start=3):
        shape = (images, *size, 2)
        labels[str(level)] = tf.constant(rng.choice([1, 0, -1], shape, p=shares))
        corners = rng.uniform(-20, 60, (*shape, 2))
        boxes = np.concatenate([corners, corners + rng.choice([0, 8, 1e30], 2)], -1)
        boxes = boxes.reshape(images, *size, 8)
        anchors[str(level)] = tf.constant(boxes, tf.float32)
    gt = [[0, 0, 30, 30], [5, 5, 5, 9], [-1, -1, -1, -1]][: 3 - seed % 3]
    gt = np.broadcast_to(np.float32(gt).reshape(-1, 4), (images, 3 - seed % 3, 4))
    return labels, anchors, tf.constant(gt)


@pytest.mark.parametrize("name", ANCHOR_DRAWS)
@few_or(48, few=16)
def test_a_draw_of_anchors(name, count):
    """Labels stay or become ignored; as many stay as the quota lets."""
    for seed in range(count):
        labels, anchors, gt = anchor_batch(seed, ANCHOR_SIZES[seed * 5 // 4 % 4])
        drawn = ANCHOR_DRAWS[name](labels, anchors, gt, SEED)
        assert drawn.keys() == labels.keys()
        for level, label in labels.items():
            assert drawn[level].shape == label.shape
            assert drawn[level].dtype == label.dtype
        before, after = (
            np.concatenate(
                [x.numpy().reshape(len(x), math.prod(x.shape[1:])) for x in y.values()],
                axis=1,
            )
            for y in (labels, drawn)
        )
        assert np.all((after == before) | (after == -1))
        positives, negatives = ((before == x).sum(axis=1) for x in (1, 0))
        kept = kept_anchors(name, positives, negatives)
        np.testing.assert_array_equal((after == 1).sum(axis=1), kept[0])
        np.testing.assert_array_equal((after == 0).sum(axis=1), kept[1])

        if name == "sample_anchors" and seed % 2:  # the only one to look at boxes
            junk = JUNK[seed % len(JUNK)]
            ignored = {k: np.repeat(x == -1, 4, axis=-1) for k, x in labels.items()}
            spoiled = {k: tf.where(ignored[k], junk, x) for k, x in anchors.items()}
            assert_same(ANCHOR_DRAWS[name](labels, spoiled, gt, SEED), drawn)
