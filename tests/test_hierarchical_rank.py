"""ops.hierarchical_rank: against the loops of the published code, in every mode."""

import numpy as np
import pytest
import tensorflow as tf

from libra_tf.ops.hierarchical_rank import (
    iou_hierarchical_rank,
    score_hierarchical_rank,
)


def descending(values):
    """Ranks from the largest value, of equals the first."""
    return np.argsort(np.argsort(-values, kind="stable"), kind="stable")


def iou_rank_by_loops(iou, classes, instances, positive):
    """The two loops of the published code, in double precision; -1 off positives."""
    rank = np.full(len(iou), -1)
    counts = np.bincount(classes[positive], minlength=1)
    for c in np.unique(classes[positive]):
        of_class = np.flatnonzero(positive & (classes == c))
        key = iou.astype(np.float64)
        for instance in np.unique(instances[of_class]):
            of_gt = of_class[instances[of_class] == instance]
            key[of_gt] += counts.max() - descending(iou[of_gt])
        rank[of_class] = descending(key[of_class])
    return rank, counts.max()


def score_rank_by_loops(scores, boxes, valid, threshold=0.5):
    """One image: greedy groups and the sum that the published code sorts by."""
    order = [i for i in np.argsort(-scores, kind="stable") if valid[i]]
    key, free = np.zeros(len(scores)), set(order)
    for head in order:
        if head not in free:
            continue
        group = [i for i in order if i in free and (i == head or
                 overlap(boxes[head], boxes[i]) >= threshold)]  # fmt: skip
        free -= set(group)
        for place, i in enumerate(group):
            key[i] = len(order) - place + float(scores[i])
    rank = np.full(len(scores), -1)
    rank[order] = descending(key[order])
    return rank


def overlap(a, b):
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = np.float32(np.prod(np.maximum(sides, 0)))
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both
    return both / union if union > 0 else np.float32(0)


def random_positives(size, seed, share=0.4, objects=12):
    """Objects 3 i + c have class c; no two IoU are equal, nor 0 or 1."""
    rng = np.random.default_rng(seed)
    instances = rng.integers(0, objects, size).astype(np.int32)
    iou = (rng.permutation(size) + 1).astype(np.float32) / (size + 2)
    return iou, instances % 3, instances, rng.uniform(size=size) < share


def random_boxes(images, size, seed):
    """Clusters, so that there are groups of every size."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform(50, 350, (images, 8, 2))
    which = rng.integers(0, 8, (images, size, 1))
    corner = np.take_along_axis(centers, which, 1) + rng.normal(0, 8, (images, size, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(30, 60, corner.shape)], -1)
    scores = np.argsort(rng.uniform(size=(images, size))) / np.float32(size)
    valid = scores > 0.3
    valid[-1] = False
    return scores.astype(np.float32), boxes.astype(np.float32), valid


def test_iou_hand_values():
    """Class 0: objects with IoU .9, .6, .8 and .7; class 1: .95 and .3."""
    rank, num_max = iou_hierarchical_rank(
        tf.constant([0.9, 0.6, 0.8, 0.7, 0.95, 0.3]),
        tf.constant([0, 0, 0, 0, 1, 1]),
        tf.constant([0, 0, 0, 1, 2, 2]),
        tf.ones([6], tf.bool),
    )
    np.testing.assert_array_equal(rank, [0, 3, 2, 1, 0, 1])
    assert num_max == 4
    assert rank.dtype == num_max.dtype == tf.int32


@pytest.mark.parametrize("seed", range(5))
def test_iou_rank_is_that_of_the_published_loops(seed):
    batch = random_positives(400, seed)
    positive = batch[-1]
    rank, num_max = iou_hierarchical_rank(*batch)
    expected, expected_max = iou_rank_by_loops(*batch)
    np.testing.assert_array_equal(rank.numpy()[positive], expected[positive])
    assert num_max == expected_max


def test_three_images_share_no_object():
    """Image 1 has the objects 0 and 1, the others have object 0.

    The published code numbers object 0 of the third image as object 1 of the second,
    so that one of them loses its first rank.
    """
    iou = np.float32([0.8, 0.7, 0.95, 0.9])
    images, objects = np.int32([0, 1, 1, 2]), np.int32([0, 0, 1, 0])
    for instances, expected in (
        (images * 100 + objects, [2, 3, 0, 1]),
        (np.int32([0, 1, 2, 2]), [1, 2, 0, 3]),
    ):
        rank, _ = iou_hierarchical_rank(iou, 0 * images, instances, iou > 0)
        np.testing.assert_array_equal(rank, expected)


def test_iou_ties_are_in_order_of_the_index():
    ones = np.ones(5, np.int32)
    rank, _ = iou_hierarchical_rank(np.full(5, 0.5), ones, ones, ones > 0)
    np.testing.assert_array_equal(rank, range(5))
    rank, _ = iou_hierarchical_rank(np.full(5, 0.5), ones, [7, 7, 3, 7, 3], ones > 0)
    np.testing.assert_array_equal(rank, [0, 2, 1, 4, 3])


def test_a_first_of_iou_0_stands_before_a_second_of_iou_1():
    rank, _ = iou_hierarchical_rank([1.0, 1.0, 0.0], [0] * 3, [5, 5, 6], [True] * 3)
    np.testing.assert_array_equal(rank, [0, 2, 1])


def test_a_sum_in_float32_would_blur_the_rank():
    """40,000 positives of one class: IoU + 40,000 knows only multiples of 1 / 256."""
    size = 40_000
    iou = np.float32([0.5, 0.501]).repeat(size // 2)
    rank, num_max = iou_hierarchical_rank(
        iou, np.zeros(size, int), np.arange(size), np.ones(size, bool)
    )
    assert num_max == size
    assert rank.numpy()[size // 2 :].max() < rank.numpy()[: size // 2].min()


def test_iou_no_positives_one_positive_and_nothing():
    iou, classes, instances, positive = random_positives(20, 0)
    _, num_max = iou_hierarchical_rank(iou, classes, instances, positive & False)
    assert num_max == 0
    one = np.arange(20) == 7
    rank, num_max = iou_hierarchical_rank(iou, classes, instances, one)
    assert rank[7] == 0
    assert num_max == 1
    nothing = [x[:0] for x in (iou, classes, instances, positive)]
    rank, num_max = iou_hierarchical_rank(*nothing)
    assert rank.shape == [0]
    assert num_max == 0


def test_iou_nan_is_last():
    rank, _ = iou_hierarchical_rank([np.nan, 0.0, 0.4], [0] * 3, [5] * 3, [True] * 3)
    np.testing.assert_array_equal(rank, [2, 1, 0])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_iou_rank_in_graph_and_xla(jit_compile):
    batch = [tf.constant(x) for x in random_positives(3000, 1)]
    expected = iou_hierarchical_rank(*batch)
    traced = tf.function(iou_hierarchical_rank, jit_compile=jit_compile)
    for actual, wanted in zip(traced(*batch), expected, strict=True):
        np.testing.assert_array_equal(actual, wanted)


def test_iou_rank_of_all_anchors_of_a_batch():
    """600,000: a mask [N, ground truth] would take gigabytes."""
    batch = [tf.constant(x) for x in random_positives(600_000, 1, 0.001, 800)]
    positive = batch[-1].numpy()
    rank, _ = tf.function(iou_hierarchical_rank, jit_compile=True)(*batch)
    expected = iou_rank_by_loops(*(x.numpy()[positive] for x in batch))[0]
    np.testing.assert_array_equal(rank.numpy()[positive], expected)


def test_unknown_shapes_in_a_graph():
    batch = [tf.constant(x) for x in random_positives(50, 1)]
    specs = [tf.TensorSpec([None], x.dtype) for x in batch]
    traced = tf.function(iou_hierarchical_rank, input_signature=specs)
    np.testing.assert_array_equal(traced(*batch)[0], iou_hierarchical_rank(*batch)[0])
    images = [tf.constant(x) for x in random_boxes(2, 30, 0)]
    specs = [tf.TensorSpec([None, None, *x.shape[2:]], x.dtype) for x in images]
    traced = tf.function(score_hierarchical_rank, input_signature=specs)
    np.testing.assert_array_equal(traced(*images), score_hierarchical_rank(*images))


# Three boxes over each other, two, and one alone that has no score to speak of.
BOXES = np.float32(
    [
        [0, 0, 10, 10],
        [0, 0, 9, 10],
        [0, 0, 8, 10],
        [50, 50, 60, 60],
        [50, 50, 59, 60],
        [90, 90, 99, 99],
    ]
)
SCORES = np.float32([0.6, 0.5, 0.3, 0.55, 0.2, 0.03])


def test_score_hand_values():
    """First of each group, then the second ones, then the third."""
    rank = score_hierarchical_rank(SCORES[None], BOXES[None], SCORES[None] > 0.05)
    np.testing.assert_array_equal(rank, [[0, 2, 4, 1, 3, 5]])
    assert rank.dtype == tf.int32


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_score_rank_is_that_of_the_published_loops(threshold):
    scores, boxes, valid = random_boxes(5, 120, 3)
    rank = score_hierarchical_rank(scores, boxes, valid, iou_threshold=threshold)
    for image in range(5):
        expected = score_rank_by_loops(
            scores[image], boxes[image], valid[image], threshold
        )
        kept = valid[image]
        np.testing.assert_array_equal(rank[image].numpy()[kept], expected[kept])
        np.testing.assert_array_equal(np.sort(rank[image]), np.arange(120))
        assert np.all(rank[image].numpy()[~kept] >= kept.sum())


def test_a_box_at_the_threshold_joins():
    """IoU 0.5 exactly: one group; a hair more: two."""
    boxes = np.float32([[[0, 0, 10, 10], [0, 0, 5, 10], [50, 50, 60, 60]]])
    scores, valid = np.float32([[0.9, 0.8, 0.7]]), np.ones([1, 3], bool)
    together = score_hierarchical_rank(scores, boxes, valid, iou_threshold=0.5)
    np.testing.assert_array_equal(together, [[0, 2, 1]])
    apart = score_hierarchical_rank(scores, boxes, valid, iou_threshold=0.501)
    np.testing.assert_array_equal(apart, [[0, 1, 2]])


def test_a_box_that_joined_heads_no_group():
    """0 overlaps 1 and 1 overlaps 2, but 0 does not overlap 2: two groups."""
    boxes = np.float32([[[0, 0, 10, 10], [0, 3, 10, 13], [0, 6, 10, 16]]])
    scores = np.float32([[0.9, 0.8, 0.7]])
    rank = score_hierarchical_rank(scores, boxes, np.ones([1, 3], bool))
    np.testing.assert_array_equal(rank, [[0, 2, 1]])


def test_score_ties_empty_boxes_and_nan():
    valid = np.ones([1, 4], bool)
    same = np.tile(BOXES[:1], [4, 1])[None]
    ties = np.full([1, 4], 0.5, np.float32)
    np.testing.assert_array_equal(
        score_hierarchical_rank(ties, same, valid), [[0, 1, 2, 3]]
    )
    for boxes in (0 * same, 0 * same - 1):  # no area, padding: each is alone
        np.testing.assert_array_equal(
            score_hierarchical_rank(ties, boxes, valid), [[0, 1, 2, 3]]
        )
    scores = np.float32([[np.nan, 0.1, 0.9, -np.inf]])
    np.testing.assert_array_equal(
        score_hierarchical_rank(scores, same, valid), [[2, 1, 0, 3]]
    )


def test_score_no_boxes_and_none_valid():
    empty = tf.zeros([2, 0])
    rank = score_hierarchical_rank(empty, tf.zeros([2, 0, 4]), tf.zeros([2, 0], "bool"))
    assert rank.shape == [2, 0]
    rank = score_hierarchical_rank(SCORES[None], BOXES[None], np.zeros([1, 6], bool))
    np.testing.assert_array_equal(rank, [range(6)])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_score_rank_in_graph_and_xla(jit_compile):
    images = [tf.constant(x) for x in random_boxes(4, 200, 5)]
    traced = tf.function(score_hierarchical_rank, jit_compile=jit_compile)
    np.testing.assert_array_equal(traced(*images), score_hierarchical_rank(*images))


def test_a_batch_equals_its_images():
    images = random_boxes(4, 60, 6)
    singles = [score_hierarchical_rank(*(x[i : i + 1] for x in images)) for i in (0, 2)]
    batch = score_hierarchical_rank(*images)
    np.testing.assert_array_equal(batch.numpy()[[0, 2]], tf.concat(singles, 0))


def test_bfloat16_and_no_gradient():
    scores, boxes, valid = map(tf.constant, random_boxes(1, 30, 6))
    with tf.GradientTape() as tape:
        tape.watch([scores, boxes])
        rank = tf.cast(score_hierarchical_rank(scores, boxes, valid), tf.float32)
    assert tape.gradient(rank, [scores, boxes]) == [None, None]
    half = tf.cast(scores, tf.bfloat16)
    np.testing.assert_array_equal(
        score_hierarchical_rank(half, boxes, valid),
        score_hierarchical_rank(tf.cast(half, tf.float32), boxes, valid),
    )
    ones = tf.ones([30], tf.int32)
    half = half[0]
    np.testing.assert_array_equal(
        iou_hierarchical_rank(half, ones, ones, valid[0])[0],
        iou_hierarchical_rank(tf.cast(half, "float32"), ones, ones, valid[0])[0],
    )


def test_messages():
    scores, boxes, valid = SCORES[None], BOXES[None], np.ones([1, 6], bool)
    with pytest.raises(ValueError, match=r"iou_threshold must be in \(0, 1\], got 0"):
        score_hierarchical_rank(scores, boxes, valid, iou_threshold=0)
    with pytest.raises(ValueError, match=r"\(1, 6\), \(1, 5, 4\) and \(1, 6\)"):
        score_hierarchical_rank(scores, boxes[:, :5], valid)
    with pytest.raises(ValueError, match=r"\(6,\), \(6, 4\) and \(6,\)"):
        score_hierarchical_rank(scores[0], boxes[0], valid[0])
    ones = np.ones(6, np.int32)
    with pytest.raises(ValueError, match=r"\[N\], got \(6,\), \(6,\), \(5,\), \(6,\)"):
        iou_hierarchical_rank(SCORES, ones, ones[:5], ones > 0)
    with pytest.raises(ValueError, match=r"\[N\], got \(1, 6\)"):
        iou_hierarchical_rank(scores, ones[None], ones[None], valid)
