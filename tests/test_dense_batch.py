"""criteria.dense_batch: levels joined, and who is positive, negative, ignored."""

import dense_batches as batches
import numpy as np
import pytest
import tensorflow as tf
from dense_batches import IGNORED, NUM_CLASSES

from libra_tf.criteria.dense_batch import dense_batch
from libra_tf.inputs.parsers import INSTANCE

CLASSES = [[1, -1, IGNORED, 3, -1], [-1, -1, -1, IGNORED, IGNORED]]


def test_who_is_who():
    dense = batches.dense(CLASSES)
    assert dense.classes.numpy().tolist() == [[1, -1, -1, 3, -1], [-1] * 5]
    classes = np.array(CLASSES)
    np.testing.assert_array_equal(dense.positive, classes > 0)
    np.testing.assert_array_equal(dense.valid, classes != IGNORED)
    assert dense.level_sizes == [2, 3]
    assert dense.instances is None


def test_levels_are_joined_in_their_order():
    outputs, labels = batches.batch(CLASSES, split=1)
    dense = dense_batch(outputs, labels, NUM_CLASSES)
    scores = outputs["cls_outputs"]
    np.testing.assert_array_equal(dense.logits[:, :1], scores["3"][:, 0])
    np.testing.assert_array_equal(dense.logits[:, 1:], scores["4"][:, 0])
    np.testing.assert_array_equal(dense.foreground_logits, dense.logits[..., 1:])
    assert dense.level_sizes == [1, 4]


def test_several_anchors_at_a_place():
    """Channels of Model Garden: all of the first anchor, then of the second."""
    values = np.arange(2 * 3 * 2 * 4, dtype=np.float32).reshape(1, 2, 3, 8)
    boxes = {"3": tf.constant(values), "4": tf.constant(values[:, :1, :1])}
    scores = {
        k: tf.concat([x, x], -1)[..., : 2 * NUM_CLASSES] for k, x in boxes.items()
    }
    zeros = {k: tf.zeros_like(x) for k, x in boxes.items()}
    labels = {
        "cls_targets": {
            k: tf.ones([1, *x.shape[1:3], 2], tf.int32) for k, x in boxes.items()
        },
        "box_targets": zeros,
        "cls_weights": tf.ones([1, 14]),
        "box_weights": tf.ones([1, 14]),
    }
    outputs = {"cls_outputs": scores, "box_outputs": boxes}
    dense = dense_batch(outputs, labels, NUM_CLASSES)
    assert dense.level_sizes == [12, 2]
    expected = np.concatenate([values.reshape(-1, 4), values[0, :1, :1].reshape(-1, 4)])
    np.testing.assert_array_equal(dense.boxes[0], expected)


def test_foreground_targets_and_labels():
    dense = batches.dense(CLASSES)
    targets = np.zeros([2, 5, 3])
    targets[0, 0, 0] = targets[0, 3, 2] = 1
    np.testing.assert_array_equal(dense.foreground_targets, targets)
    targets[np.array(CLASSES) == IGNORED] = -1
    np.testing.assert_array_equal(dense.foreground_labels, targets)


@pytest.mark.parametrize("junk", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["box_outputs", "box_targets"])
def test_boxes_of_what_is_not_positive_may_hold_anything(where, junk):
    outputs, labels = batches.batch(CLASSES)
    source = outputs if where == "box_outputs" else labels
    negative = {"3": np.array(CLASSES)[:, :2] <= 0, "4": np.array(CLASSES)[:, 2:] <= 0}
    source[where] = {
        level: tf.where(negative[level][:, None, :, None], junk, value)
        for level, value in source[where].items()
    }
    watched = outputs["box_outputs"]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        dense = dense_batch(outputs, labels, NUM_CLASSES)
        loss = tf.reduce_sum(tf.square(dense.boxes - dense.box_targets))
    assert np.isfinite(loss)
    clean = batches.dense(CLASSES)
    np.testing.assert_array_equal(dense.boxes, clean.boxes)
    np.testing.assert_array_equal(dense.box_targets, clean.box_targets)
    for level, gradient in tape.gradient(loss, watched).items():
        assert np.all(np.isfinite(gradient))
        assert not np.any(gradient[:, 0][negative[level]])


def test_instances_are_unique_in_the_batch():
    instances = [[0, 1, 4, 1, 0], [0, 0, 2, 2, 1], [3, 3, 3, 0, 4]]
    classes = np.ones([3, 5], int)
    found = batches.dense(classes, instances=instances).instances.numpy()
    assert found.dtype == np.int32
    pairs = {}
    for image in range(3):
        for anchor in range(5):
            key = image, instances[image][anchor]
            assert pairs.setdefault(key, found[image, anchor]) == found[image, anchor]
    assert len(set(pairs.values())) == len(pairs) == 9


def test_other_attributes_are_no_instances():
    outputs, labels = batches.batch(CLASSES)
    labels["attribute_targets"] = {"speed": labels["cls_targets"]}
    assert INSTANCE != "speed"
    assert dense_batch(outputs, labels, NUM_CLASSES).instances is None


def test_bfloat16_outputs_become_float32():
    outputs, labels = batches.batch(CLASSES)
    half = tf.nest.map_structure(lambda x: tf.cast(x, tf.bfloat16), outputs)
    dense = dense_batch(half, labels, NUM_CLASSES)
    assert (dense.logits.dtype, dense.boxes.dtype) == (tf.float32, tf.float32)
    wide = tf.nest.map_structure(lambda x: tf.cast(x, tf.float32), half)
    expected = dense_batch(wide, labels, NUM_CLASSES)
    np.testing.assert_array_equal(dense.logits, expected.logits)
    np.testing.assert_array_equal(dense.boxes, expected.boxes)


def test_unknown_batch_size():
    spec = tf.nest.map_structure(
        lambda x: tf.TensorSpec([None, *x.shape[1:]], x.dtype), batches.batch(CLASSES)
    )

    @tf.function(input_signature=spec)
    def run(outputs, labels):
        dense = dense_batch(outputs, labels, NUM_CLASSES)
        assert dense.level_sizes == [2, 3]
        return dense.foreground_labels, dense.boxes

    expected = batches.dense(CLASSES)
    labels, boxes = run(*batches.batch(CLASSES))
    np.testing.assert_array_equal(labels, expected.foreground_labels)
    np.testing.assert_array_equal(boxes, expected.boxes)
