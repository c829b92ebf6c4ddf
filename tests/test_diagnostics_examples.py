"""Numbers of examples by level, class and object, by hand."""

import numpy as np
import tensorflow as tf

from libra_tf.diagnostics import examples
from libra_tf.diagnostics.class_gradients import example_gradient_sums, squared_norm
from libra_tf.diagnostics.head_examples import roi_examples, rpn_examples
from libra_tf.samplers import SamplingRule, select_rois

GT = tf.constant(
    [[[0.0, 0, 10, 10], [20, 20, 40, 40]], [[0, 0, 8, 8], [-1, -1, -1, -1]]]
)


def test_counts_take_what_is_chosen_only():
    index = tf.constant([[0, 2, 2, -1], [1, 1, 0, 2]])
    chosen = tf.constant([[True, True, False, True], [True, False, True, True]])
    assert examples.count_by(index, chosen, 3).numpy().tolist() == [2, 1, 2]


def test_objects_without_a_positive_and_positives_by_object():
    image, instance = tf.constant([0, 0, 0, 1]), tf.constant([1, 1, 1, 0])
    sums = examples.object_sums(image, instance, GT)
    found = {name: float(value) for name, value in sums.items()}
    assert found == {"objects": 3, "without": 1, "positives": 4}


def test_no_positive_at_all():
    none = tf.zeros([0], tf.int32)
    sums = examples.object_sums(none, none, GT)
    assert [float(x) for x in sums.values()] == [3, 3, 0]
    sums = examples.distinct_object_sums(tf.zeros([0, 4]), none, tf.constant(2))
    assert [float(x) for x in sums.values()] == [0, 0]


def test_images_without_an_object():
    none = tf.zeros([0], tf.int32)
    sums = examples.object_sums(none, none, tf.zeros([2, 0, 4]))
    assert [float(x) for x in sums.values()] == [0, 0, 0]


def test_the_nearest_object_of_the_own_image():
    boxes = tf.constant([[20.1, 20, 40, 40.2], [0, 0, 8.1, 8], [0, 0, 9.9, 10]])
    found = examples.nearest_object(boxes, tf.constant([0, 1, 0]), GT)
    assert found.numpy().tolist() == [1, 0, 0]


def test_distinct_objects_are_told_apart_by_image_and_box():
    boxes = tf.constant(
        [[0.0, 0, 10, 10], [0, 0.01, 10, 10], [0, 1, 10, 10], [0, 0, 10, 10]]
    )
    image = tf.constant([0, 0, 0, 1])
    sums = examples.distinct_object_sums(boxes, image, tf.constant(3))
    assert {k: float(v) for k, v in sums.items()} == {"objects": 3, "positives": 4}


def effective(gradients, classes):
    sums = example_gradient_sums([tf.constant(gradients)], classes)
    return float(sums["length"] ** 2 / sums["square"])


def test_effective_sample_size_counts_equals_and_forgets_zeros():
    assert effective([[3.0, 4, 0, 5], [0, 0, 0, 0]], 2) == 2
    assert effective([1.0, 1, 1, 1, 0], 1) == 4
    # One that dominates counts as about one.
    assert 1 < effective([100.0] + [0.01] * 50, 1) < 1.02


def test_sums_of_gradients_add_up():
    whole = tf.constant([1.0, 2, 3, 4])
    parts = [example_gradient_sums([x], 1) for x in (whole[:1], whole[1:])]
    together = example_gradient_sums([whole], 1)
    for name, value in together.items():
        assert float(sum(p[name] for p in parts)) == float(value)
    assert float(squared_norm([whole[:2], whole[2:]])) == 30


def test_roi_examples_by_hand():
    # Sides 10 (level 2) and 224 (level 4); the last is background of level 2.
    gt_boxes = tf.constant([[[0.0, 0, 10, 10], [0, 0, 224, 224], [500, 500, 510, 510]]])
    boxes = tf.constant(
        [[[0.0, 0, 10, 10], [0, 0, 224, 224], [0, 0, 224, 220], [300, 300, 310, 310]]]
    )
    selection = select_rois(
        boxes,
        gt_boxes,
        rule=SamplingRule(num_sampled_rois=8, foreground_fraction=0.5),
        seed=tf.constant([0, 1]),
    )
    labels = {"gt_boxes": gt_boxes, "gt_classes": tf.constant([[2, 1, 1]])}
    found = roi_examples(selection, labels, 3, ["2", "3", "4"])
    assert found["positives"].numpy().tolist() == [1, 1, 1]  # 220 x 224 is of level 3
    assert found["negatives"].numpy().tolist() == [1, 0, 0]
    assert found["classes"].numpy().tolist() == [0, 2, 1]
    objects = {name: float(value) for name, value in found["objects"].items()}
    assert objects == {"objects": 3, "without": 1, "positives": 3}


def test_rpn_examples_by_hand():
    """Two levels of one anchor per cell; deltas of 0 leave the anchor as target."""
    anchors = {
        "3": tf.reshape(tf.constant([0.0, 0, 10, 10, 20, 20, 40, 40]), [1, 1, 2, 4]),
        "4": tf.reshape(tf.constant([20.0, 20, 40, 40]), [1, 1, 1, 4]),
    }
    labels = {
        "rpn_score_targets": {
            "3": tf.constant([[[[0], [1]]]]),
            "4": tf.constant([[[[1]]]]),
        },
        "rpn_box_targets": {k: tf.zeros_like(v) for k, v in anchors.items()},
        "anchor_boxes": anchors,
        "gt_boxes": GT[:1],
    }
    found = rpn_examples(labels)
    assert found["positives"].numpy().tolist() == [1, 1]
    assert found["negatives"].numpy().tolist() == [1, 0]
    objects = {name: float(value) for name, value in found["objects"].items()}
    assert objects == {"objects": 2, "without": 1, "positives": 2}
    ignored = {
        **labels,
        "rpn_score_targets": {
            k: -tf.ones_like(v) for k, v in labels["rpn_score_targets"].items()
        },
    }
    assert not np.any(
        [rpn_examples(ignored)["positives"], rpn_examples(ignored)["negatives"]]
    )
