"""inputs.retinanet: the object of each positive anchor, and nothing else new."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tiny
from official.core import task_factory
from official.vision.dataloaders import retinanet_input
from official.vision.tasks import retinanet as tfm_task
from tolerances import REDUCTION, assert_close

from libra_tf.experiments.saved import override
from libra_tf.inputs.parsers import INSTANCE
from libra_tf.inputs.retinanet import InstanceParser
from libra_tf.ops.boxes import decode_deltas

SIZE = 128


def parsers(**settings):
    """Ours and Model Garden's, without random augmentation."""
    settings = {
        "output_size": [SIZE, SIZE],
        "min_level": 3,
        "max_level": 5,
        "num_scales": 2,
        "aspect_ratios": [0.5, 1.0, 2.0],
        "anchor_size": 4.0,
        "unmatched_threshold": 0.4,
        "dtype": "float32",
    } | settings
    return InstanceParser(**settings), retinanet_input.Parser(**settings)


def example(boxes, classes=None, crowd=None, **more):
    """A decoded record; boxes yxyx in pixels."""
    boxes = np.float32(boxes).reshape(-1, 4)
    count = len(boxes)
    return {
        "image": tf.zeros([SIZE, SIZE, 3], tf.uint8),
        "source_id": tf.constant("1"),
        "groundtruth_boxes": tf.constant(boxes / SIZE),
        "groundtruth_classes": tf.constant(classes or [1] * count, tf.int64),
        "groundtruth_is_crowd": tf.constant(crowd or [False] * count, tf.bool),
        **more,
    }


def flat(levels, size=None):
    """{level: [H, W, A * size]} to [A] or [A, size]."""
    shape = [-1] if size is None else [-1, size]
    return np.concatenate([x.numpy().reshape(shape) for x in levels.values()])


def decoded(labels, weights=None):
    """Target box and object of each positive anchor."""
    positive = labels["box_weights"].numpy() > 0
    deltas, anchors = (flat(labels[k], 4) for k in ("box_targets", "anchor_boxes"))
    boxes = decode_deltas(deltas, anchors, weights=weights).numpy()
    instances = flat(labels["attribute_targets"][INSTANCE])
    return boxes[positive], instances[positive]


BOXES = [[10, 10, 40, 50], [60, 64, 120, 100], [12, 70, 44, 110], [80, 4, 110, 40]]


def assert_boxes_close(actual, expected):
    assert_close(actual, expected, of=REDUCTION, scale=np.max(expected))


def test_the_instance_is_the_object_that_the_target_decodes_to():
    parser, _ = parsers()
    _, labels = parser._parse_train_data(example(BOXES))
    boxes, instances = decoded(labels)
    assert set(instances) == {0, 1, 2, 3}
    assert_boxes_close(boxes, np.float32(BOXES)[instances.astype(int)])


def test_box_coder_weights():
    weights = [10.0, 10.0, 5.0, 5.0]
    parser, _ = parsers(box_coder_weights=weights)
    _, labels = parser._parse_train_data(example(BOXES))
    boxes, instances = decoded(labels, weights)
    assert_boxes_close(boxes, np.float32(BOXES)[instances.astype(int)])


def test_crowds_and_empty_boxes_take_no_anchor():
    """The numbers are those of the record, so some are missing."""
    boxes = [BOXES[0], BOXES[1], [30, 30, 30, 60], BOXES[2]]
    parser, _ = parsers()
    data = example(boxes, classes=[1, 2, 3, 2], crowd=[False, True, False, False])
    _, labels = parser._parse_train_data(data)
    found, instances = decoded(labels)
    assert set(instances) == {0, 3}
    assert_boxes_close(found, np.float32(boxes)[instances.astype(int)])
    classes = flat(labels["cls_targets"])[labels["box_weights"].numpy() > 0]
    np.testing.assert_array_equal(
        classes, np.array([1, 2, 3, 2])[instances.astype(int)]
    )


@pytest.mark.parametrize("boxes", [BOXES, []])
def test_everything_else_is_model_gardens(boxes):
    ours, theirs = parsers()
    image, labels = ours._parse_train_data(example(boxes))
    their_image, their_labels = theirs._parse_train_data(example(boxes))
    attributes = labels.pop("attribute_targets")
    assert attributes.keys() == {INSTANCE}
    assert labels.keys() == their_labels.keys()
    np.testing.assert_array_equal(image, their_image)
    for a, b in zip(
        tf.nest.flatten(labels), tf.nest.flatten(their_labels), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    if not boxes:
        assert not np.any(flat(attributes[INSTANCE]))


def test_attributes_of_the_data_stay():
    speed = {
        "groundtruth_attributes": {"speed": tf.constant([[3.0], [5.0], [7.0], [9.0]])}
    }
    data = example(BOXES, **speed)
    parser, _ = parsers()
    _, labels = parser._parse_train_data(data)
    positive = labels["box_weights"].numpy() > 0
    instances, found = (
        flat(labels["attribute_targets"][name])[positive]
        for name in (INSTANCE, "speed")
    )
    np.testing.assert_array_equal(found, 3 + 2 * instances)
    assert data["groundtruth_attributes"].keys() == {"speed"}


def inputs(records, **train_data):
    params = tiny.experiment("libra_retinanet_resnetfpn_coco")
    tiny.point_to(params, records)
    changes = {"losses": {"isr": {"enabled": True}}, "train_data": train_data}
    override(params, {"task": changes}, "test")
    return params, task_factory.get_task(params.task)


def test_augmented_batches(records):
    """Flipped, scaled and cropped: an object is one box and one class, not two."""
    parser = {"aug_rand_hflip": True, "aug_scale_min": 0.5, "aug_scale_max": 2.0}
    params, task = inputs(records, parser=parser)
    several = 0
    for _, labels in task.build_inputs(params.task.train_data).take(6):
        for i in range(4):
            one = tf.nest.map_structure(lambda x, i=i: x[i], labels)
            boxes, instances = decoded(one)
            classes = flat(one["cls_targets"])[one["box_weights"].numpy() > 0]
            groups = {}
            for box, instance, label in zip(boxes, instances, classes, strict=True):
                groups.setdefault(instance, []).append([*box, label])
            for rows in groups.values():
                assert_boxes_close(rows, [rows[0]] * len(rows))
            firsts = [tuple(np.round(rows[0], 1)) for rows in groups.values()]
            assert len(set(firsts)) == len(firsts)
            several += len(groups) > 1
    assert several > 5


def test_batches_are_those_of_model_gardens_task(records):
    """Shapes and types, and with nothing random the values."""
    train_data = {
        "shuffle_buffer_size": 1,
        "cycle_length": 1,
        "deterministic": True,
        "parser": {"aug_rand_hflip": False},
    }
    params, task = inputs(records, **train_data)
    ours = task.build_inputs(params.task.train_data)
    theirs = tfm_task.RetinaNetTask(params.task).build_inputs(params.task.train_data)
    (images, labels), (their_images, their_labels) = (
        next(iter(ours)),
        next(iter(theirs)),
    )
    np.testing.assert_array_equal(images, their_images)
    attributes = labels.pop("attribute_targets")[INSTANCE]
    source_ids = labels.pop("source_id").numpy()
    assert len(set(source_ids)) == len(images)
    assert all(1 <= number <= 12 for number in source_ids)
    tf.nest.map_structure(np.testing.assert_array_equal, labels, their_labels)
    assert attributes["3"].shape == labels["cls_targets"]["3"].shape


def test_only_isr_needs_the_numbers(records):
    params, task = inputs(records)
    params.task.losses.isr.enabled = False
    _, labels = tiny.first_batch(task, params.task.train_data)
    assert "attribute_targets" not in labels
    params.task.losses.isr.enabled = True
    _, labels = tiny.first_batch(task, params.task.validation_data)
    assert "attribute_targets" not in labels


def test_the_batch_is_shared_by_the_pipelines(records):
    params, task = inputs(records)
    context = tf.distribute.InputContext(
        num_input_pipelines=1, input_pipeline_id=0, num_replicas_in_sync=2
    )
    images, _ = next(iter(task.build_inputs(params.task.train_data, context)))
    assert images.shape[0] == 2
