"""inputs.anchor_choice: which choice of anchors a config means."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from libra_tf.experiments import sampler_config
from libra_tf.inputs.anchor_choice import anchor_chooser
from libra_tf.inputs.labels import map_labels
from libra_tf.samplers import limit_negatives, sample_anchors

SEED = (1, 2)
PARSER = SimpleNamespace(
    rpn_batch_size_per_im=24, rpn_fg_fraction=0.25, rpn_unmatched_threshold=0.3
)


def labels(images=3):
    """Two levels with all anchors labelled, and one object in each image."""
    rng = np.random.default_rng(0)
    boxes, targets = {}, {}
    for level, size in (("3", 8), ("4", 4)):
        corner = rng.uniform(0, 60, (images, size, size, 2, 2))
        corners = np.concatenate(
            [corner, corner + rng.uniform(20, 40, corner.shape)], -1
        )
        boxes[level] = tf.constant(corners.reshape(images, size, size, 8), tf.float32)
        chosen = rng.choice([-1, 0, 1], (images, size, size, 2), p=[0.1, 0.8, 0.1])
        targets[level] = tf.constant(chosen, tf.int32)
    gt = tf.constant([[[20.0, 20, 60, 60], [-1, -1, -1, -1]]] * images)
    return {
        "rpn_score_targets": targets,
        "anchor_boxes": boxes,
        "gt_boxes": gt,
        "other": tf.constant([1, 2, 3]),
    }


def choose(seed=SEED, **settings):
    chooser = anchor_chooser(sampler_config.RPNSampler(**settings), PARSER)
    return chooser(labels(), seed=seed)


def assert_levels(found, expected):
    assert found.keys() == expected.keys()
    for level in expected:
        np.testing.assert_array_equal(found[level], expected[level])


@pytest.mark.parametrize("negatives", ["random", "all"])
def test_model_gardens_choice_needs_no_change(negatives):
    sampler = sampler_config.RPNSampler(negatives=negatives)
    assert anchor_chooser(sampler, PARSER) is None


def test_a_bound_on_model_gardens_negatives():
    found = choose(neg_pos_ub=5.0)["rpn_score_targets"]
    targets = labels()["rpn_score_targets"]
    assert_levels(found, limit_negatives(targets, 5.0, most=24, seed=SEED))


@pytest.mark.parametrize(("num_bins", "ratio"), [(3, 0.0), (5, 2.0)])
def test_balanced_negatives_take_their_settings(num_bins, ratio):
    found = choose(negatives="iou_balanced", num_bins=num_bins, neg_pos_ub=ratio)
    given = labels()
    expected = sample_anchors(
        given["rpn_score_targets"], given["anchor_boxes"], given["gt_boxes"],
        num_samples=24, foreground_fraction=0.25, upper=0.3, num_bins=num_bins,
        ratio=ratio, seed=SEED,
    )  # fmt: skip
    assert_levels(found["rpn_score_targets"], expected)
    drawn = sum(np.sum(x.numpy() == 1, (1, 2, 3)) for x in expected.values())
    assert np.all(drawn <= 6)


@pytest.mark.parametrize(
    "settings", [{"neg_pos_ub": 5.0}, {"negatives": "iou_balanced"}]
)
def test_other_labels_stay(settings):
    found, given = choose(**settings), labels()
    assert found.keys() == given.keys()
    for name in ("anchor_boxes", "gt_boxes", "other"):
        tf.nest.map_structure(np.testing.assert_array_equal, found[name], given[name])


def test_in_a_data_pipeline_each_batch_has_another_draw():
    sampler = sampler_config.RPNSampler(negatives="iou_balanced")
    dataset = tf.data.Dataset.from_tensors((0, labels())).repeat(2)
    mapped = map_labels(dataset, anchor_chooser(sampler, PARSER), seed=3)
    (_, first), (_, second) = mapped
    targets = [x["rpn_score_targets"]["3"].numpy() for x in (first, second)]
    assert np.any(targets[0] != targets[1])
