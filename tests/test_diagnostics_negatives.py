"""Sample level: which background each rule chooses, by its IoU."""

import math

import numpy as np
import pytest
import tensorflow as tf
from tolerances import ELEMENTWISE, assert_close

from libra_tf.diagnostics.negatives import (
    DRAWN,
    HARD_IOU,
    IOU_EDGES,
    background_losses,
    choose_negatives,
    count_by_iou,
    negative_sums,
    summarize_negatives,
)
from libra_tf.samplers import SamplingRule

GT = [0.0, 0.0, 10.0, 10.0]
AWAY = [50.0, 50.0, 60.0, 60.0]
PADDING = [-1.0] * 4
RULE = {"num_sampled_rois": 12, "foreground_fraction": 0.25}
SEED = tf.constant([3, 4], tf.int64)


def box_of_iou(iou):
    """The left part of the ground truth that has this IoU with it."""
    return [0.0, 0.0, 10.0, 10.0 * iou]


# 2 foreground, 30 + 6 + 4 background (in thirds of [0, 0.5)), 3 padding.
IOUS = [1.0, 0.8] + [0.0] * 30 + [0.25] * 6 + [0.45] * 4
BOXES = [GT, box_of_iou(0.8), *[AWAY] * 30]
BOXES += [box_of_iou(iou) for iou in IOUS[32:]] + [PADDING] * 3
NUM_NEGATIVES = 40
WANTED = 10  # 12 less the two foreground ones


def tensors(losses=None, images=1):
    boxes = tf.constant([BOXES] * images)
    gt_boxes = tf.constant([[GT, PADDING]] * images)
    losses = np.zeros(len(BOXES)) if losses is None else losses
    return boxes, gt_boxes, tf.constant([losses] * images, tf.float32)


def choose(losses=None, images=1, **rule):
    return choose_negatives(
        *tensors(losses, images), seed=SEED, rule=SamplingRule(**{**RULE, **rule})
    )


def numbers(mask):
    return tf.reduce_sum(tf.cast(mask, tf.int32), axis=1).numpy().tolist()


def test_counts_between_edges_are_open_below_and_closed_above():
    iou = tf.constant([[0.0, 0.05, 0.0500001, 0.1, 0.3, 0.31, 0.4999, 0.6, 0.2]])
    chosen = tf.constant([[True] * 8 + [False]])
    assert count_by_iou(iou, chosen).numpy().tolist() == [2, 2, 0, 1, 1, 2]


def test_counts_are_of_all_images_and_of_the_chosen_only():
    iou = tf.constant([[0.0, 0.2], [0.45, -1.0]])
    chosen = tf.constant([[True, False], [True, False]])
    assert count_by_iou(iou, chosen).numpy().tolist() == [1, 0, 0, 0, 0, 1]


def test_the_loss_of_background_is_cross_entropy_with_class_0():
    logits = tf.math.log([[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]])
    expected = [[math.log(2), math.log(10)]]
    assert_close(background_losses(logits), expected, of=ELEMENTWISE)


def test_the_loss_of_bfloat16_logits_is_computed_in_float32():
    logits = tf.cast(tf.linspace([[-2.0, 0.3]], [[3.0, 7.0]], 5, axis=-1), tf.bfloat16)
    half = background_losses(logits)
    assert half.dtype == tf.float32
    wide = background_losses(tf.cast(logits, tf.float32))
    np.testing.assert_array_equal(half, wide)


def test_extreme_logits_give_a_finite_loss():
    assert background_losses(tf.constant([[[-1e4, 1e4]]])).numpy() == 2e4


def test_every_rule_chooses_as_many():
    selection, masks = choose()
    assert numbers(masks.pop("all")) == [NUM_NEGATIVES]
    assert set(masks) == {*DRAWN, "hardest"}
    for name, mask in masks.items():
        assert numbers(mask) == [WANTED], name
        assert not np.any(mask & ~selection.negative), name


def test_iou_balanced_takes_a_third_from_each_bin():
    _, masks = choose()
    counts = count_by_iou(tf.constant([IOUS + [-1.0] * 3]), masks["iou_balanced"])
    counts = counts.numpy()
    assert counts[[1, 2, 4]].tolist() == [0, 0, 0]
    assert counts[[0, 3, 5]].min() >= 3
    assert counts.sum() == WANTED


def test_published_balance_takes_all_above_a_third():
    _, masks = choose()
    counts = count_by_iou(
        tf.constant([IOUS + [-1.0] * 3]), masks["iou_balanced_published"]
    )
    # Its bins are thirds of [0, 1): [1/3, 0.5) gives what it has, three at least.
    assert counts.numpy()[5] >= 3


def test_hardest_are_those_of_highest_loss():
    losses = np.arange(len(BOXES), dtype=np.float32)  # padding has the highest
    losses[0] = 1e6  # foreground
    _, masks = choose(losses)
    assert np.flatnonzero(masks["hardest"][0]).tolist() == list(range(32, 42))


def test_rules_draw_the_same_positives():
    selection, _ = choose()
    assert np.flatnonzero(selection.chosen_positive[0]).tolist() == [0, 1]


def test_sums_of_a_batch():
    sums = negative_sums(*choose(np.arange(len(BOXES)), images=2))
    plain = {k: int(v) for k, v in sums.items() if k != "counts"}
    assert plain == {
        "images": 2,
        "with_choice": 2,
        "candidates": 2 * 42,
        "positives": 2 * 2,
        "negatives": 2 * NUM_NEGATIVES,
        "chosen": 2 * WANTED,
    }
    assert sums["counts"]["all"].numpy().tolist() == [60, 0, 0, 12, 0, 8]
    assert sums["counts"]["hardest"].numpy().tolist() == [0, 0, 0, 12, 0, 8]


def test_without_a_choice_all_rules_agree():
    selection, masks = choose(num_sampled_rois=100)
    sums = negative_sums(selection, masks)
    assert int(sums["with_choice"]) == 0
    pool = sums["counts"]["all"].numpy().tolist()
    assert all(c.numpy().tolist() == pool for c in sums["counts"].values())


def test_summary():
    sums = {
        "images": 4.0,
        "with_choice": 3.0,
        "candidates": 168.0,
        "positives": 8.0,
        "negatives": 160.0,
        "chosen": 40.0,
        "counts": {
            "all": np.array([30.0, 2, 4, 2, 1, 1]),
            "random": np.array([7.0, 0, 3, 0, 0, 0]),
        },
    }
    summary = summarize_negatives(sums)
    assert summary["per_image"] == {
        "candidates": 42, "positives": 2, "negatives": 40, "chosen": 10
    }  # fmt: skip
    assert summary["images_with_choice"] == 0.75
    assert summary["iou_edges"] == list(IOU_EDGES)
    assert summary["rules"]["all"]["above"] == pytest.approx(0.25)
    assert summary["rules"]["random"]["histogram"] == pytest.approx(
        [0.7, 0, 0.3, 0, 0, 0]
    )
    assert sum(summary["rules"]["all"]["histogram"]) == pytest.approx(1)


def test_the_share_above_is_what_the_first_bin_leaves():
    rule = summarize_negatives(
        {
            **dict.fromkeys(
                ("images", "with_choice", "candidates", "positives", "negatives"), 1.0
            ),
            "chosen": 1.0,
            "counts": {"all": np.array([3.0, 1, 0, 0, 0, 0])},
        }
    )["rules"]["all"]
    assert IOU_EDGES[1] == HARD_IOU
    assert rule["above"] == 1 - rule["histogram"][0]


def test_images_without_ground_truth_and_without_boxes():
    boxes = tf.constant([[AWAY, PADDING], [PADDING, PADDING]])
    gt_boxes = tf.constant([[PADDING], [PADDING]])
    choice = choose_negatives(
        boxes, gt_boxes, tf.zeros([2, 2]), seed=SEED, rule=SamplingRule(**RULE)
    )
    sums = negative_sums(*choice)
    assert (int(sums["candidates"]), int(sums["negatives"])) == (1, 1)
    assert sums["counts"]["random"].numpy().tolist() == [1, 0, 0, 0, 0, 0]


def test_no_background_at_all_is_undefined_not_an_error():
    boxes = tf.constant([[GT]])
    choice = choose_negatives(
        boxes, boxes, tf.zeros([1, 1]), seed=SEED, rule=SamplingRule(**RULE)
    )
    sums = tf.nest.map_structure(lambda x: x.numpy(), negative_sums(*choice))
    rules = summarize_negatives(sums)["rules"]
    assert rules["random"] == {"above": None, "histogram": None}


@pytest.mark.parametrize("jit", [False, True])
def test_graph_and_xla_count_as_eagerly(jit):
    def sums(boxes, gt_boxes, losses):
        return negative_sums(
            *choose_negatives(
                boxes, gt_boxes, losses, seed=SEED, rule=SamplingRule(**RULE)
            )
        )

    inputs = tensors(np.arange(len(BOXES)), images=2)
    compiled = tf.function(sums, jit_compile=jit)(*inputs)
    tf.nest.map_structure(np.testing.assert_array_equal, compiled, sums(*inputs))
