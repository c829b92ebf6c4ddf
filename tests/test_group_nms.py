"""Greedy suppression within groups against loops."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from libra_tf.ops.group_nms import best_rows, clip_to_image, group_nms, has_extent


def case(seed, count=200, groups=4):
    rng = np.random.default_rng(seed)
    corner, sides = rng.uniform(0, 60, [count, 2]), rng.uniform(1, 50, [count, 2])
    return (
        np.concatenate([corner, corner + sides], 1).astype(np.float32),
        rng.permutation(count).astype(np.float32) / count,
        rng.integers(0, groups, count).astype(np.int32),
        rng.uniform(size=count) < 0.8,
    )


def iou(a, b):
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    inner = np.prod(np.maximum(sides, 0))
    return inner / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inner)


def by_loops(boxes, scores, groups, valid, threshold, most):
    kept = []
    for i in np.argsort(-scores):
        rivals = [j for j in kept if groups[j] == groups[i]]
        if valid[i] and all(iou(boxes[i], boxes[j]) <= threshold for j in rivals):
            kept.append(i)
    return kept[:most]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("most", [10, 300])
@pytest.mark.parametrize("trace", [tf.function, lambda f: f], ids=["graph", "eager"])
def test_a_batch_by_loops(threshold, most, trace):
    images = [case(seed) for seed in (1, 2)]
    stacked = [tf.constant(np.stack(x)) for x in zip(*images, strict=True)]
    suppress = trace(lambda *x: group_nms(*x, iou_threshold=threshold, max_kept=most))
    kept = suppress(*stacked)
    assert kept.boxes.shape == [2, most, 4]
    for i, (boxes, scores, groups, valid) in enumerate(images):
        rows = by_loops(boxes, scores, groups, valid, threshold, most)
        assert kept.count[i] == len(rows)
        np.testing.assert_array_equal(kept.boxes[i, : len(rows)], boxes[rows])
        np.testing.assert_array_equal(kept.scores[i, : len(rows)], scores[rows])
        np.testing.assert_array_equal(kept.groups[i, : len(rows)], groups[rows])
        for part in (kept.boxes, kept.scores, kept.groups):
            assert not np.any(part[i, len(rows) :])


def test_nothing_valid_and_nothing_there():
    for boxes, scores, groups, valid in (case(1), case(1, count=0)):
        kept = group_nms(
            *(x[np.newaxis] for x in (boxes, scores, groups, valid & False)),
            iou_threshold=0.5,
            max_kept=7,
        )
        assert kept.count.numpy().tolist() == [0]
        assert not np.any(kept.boxes)


def test_groups_do_not_touch_at_the_largest_coordinate():
    """Moved apart by the largest coordinate alone, they would share an edge."""
    boxes = tf.constant([[[0.0, 0, 100, 100], [0, 0, 100, 100]]])
    rest = [tf.constant([x]) for x in ([0.9, 0.8], [0, 1], [True, True])]
    kept = group_nms(boxes, *rest, iou_threshold=0.0, max_kept=2)
    assert kept.groups.numpy().tolist() == [[0, 1]]


def test_xla_gives_the_same():
    arrays = [x[np.newaxis] for x in case(3)]

    @tf.function(jit_compile=True)
    def compiled(*x):
        return group_nms(*x, iou_threshold=0.5, max_kept=20)

    expected = group_nms(*arrays, iou_threshold=0.5, max_kept=20)
    for a, b in zip(compiled(*arrays), expected, strict=True):
        np.testing.assert_allclose(a, b)


def test_best_rows():
    scores = tf.constant([[0.1, 0.5, 0.5, 0.9]])
    values, rows = best_rows(scores, 3)
    assert rows.numpy().tolist() == [[3, 1, 2]]
    np.testing.assert_allclose(values, [[0.9, 0.5, 0.5]])
    assert best_rows(scores, 9)[1].shape == [1, 4]

    @tf.function(input_signature=[tf.TensorSpec([None, None])])
    def traced(x):
        return best_rows(x, 9)[1]

    assert traced(scores).numpy().tolist() == [[3, 1, 2, 0]]


def test_clipping_and_extent():
    boxes = tf.constant(
        [[[-5.0, -6, 70, 80], [60, 3, 90, 9]], [[1, 2, 3, 4], [0, 0, 0, 9]]]
    )
    clipped = clip_to_image(boxes, tf.constant([[50, 60], [40, 40]]))
    assert clipped.numpy().tolist() == [
        [[0, 0, 50, 60], [50, 3, 50, 9]],
        [[1, 2, 3, 4], [0, 0, 0, 9]],
    ]
    assert has_extent(clipped).numpy().tolist() == [[True, False], [True, False]]
    per_class = clip_to_image(
        boxes[:, :, tf.newaxis], tf.constant([[50, 60], [40, 40]])
    )
    np.testing.assert_array_equal(per_class[:, :, 0], clipped)
