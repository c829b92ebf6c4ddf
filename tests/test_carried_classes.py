"""weights.carried_classes: outputs of a class go where its name goes."""

import types

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny

from libra_tf.tasks.initialization import initialize_model
from libra_tf.weights.carried_classes import CarriedClasses
from libra_tf.weights.find_checkpoint import saved_class_names

CLASSES = CarriedClasses(["background", "cat", "dog"], ["background", "dog", "", "cow"])
ROI = "detection_head/0/"


def numbered(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + 1


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        (f"{ROI}_classifier/bias", [1, 2, 3], [1, 3, 0, 0]),
        ("mask_head/_mask_regressor/bias", [1, 2, 3], [1, 3, 0, 0]),
        # Two anchors: all classes of the first, then those of the second.
        ("head/_classifier/bias", [1, 2, 3, 4, 5, 6], [1, 3, 0, 0, 4, 6, 0, 0]),
        ("head/_classifier/3/bias", [1, 2, 3, 4, 5, 6], [1, 3, 0, 0, 4, 6, 0, 0]),
        # Without background.
        (f"{ROI}_classifier/class_score/bias", [1, 2], [2, 0, 0]),
        ("head/_classifier/class_score/bias", [1, 2, 3, 4], [2, 0, 0, 4, 0, 0]),
    ],
)
def test_outputs_go_with_the_name(name, before, after):
    assert CLASSES.concerns(name)
    saved, start = np.array(before), np.zeros(len(after), int)
    assert CLASSES.carry(name, saved, start).tolist() == after
    assert not start.any()


def test_four_deltas_of_a_class_stay_together():
    saved = numbered(5, 12)
    found = CLASSES.carry(f"{ROI}_box_regressor/kernel", saved, np.zeros([5, 16]))
    np.testing.assert_array_equal(found[:, :4], saved[:, :4])
    np.testing.assert_array_equal(found[:, 4:8], saved[:, 8:12])
    assert not found[:, 8:].any()


@pytest.mark.parametrize(
    "name",
    [
        "rpn_head/_classifier/kernel",
        "head/_box_regressor/kernel",
        f"{ROI}_fcs/0/kernel",
        "head/_classifier/class_norm/gamma",
        "backbone/detection_head/0/_classifier/kernel",
    ],
)
def test_other_weights_have_no_classes(name):
    assert not CLASSES.concerns(name)


@pytest.mark.parametrize(
    ("name", "saved", "start"),
    [
        (f"{ROI}_classifier/kernel", (5, 3), (6, 4)),  # another width
        (f"{ROI}_box_regressor/kernel", (5, 4), (5, 4)),  # the same box for all classes
        ("head/_classifier/bias", (6,), (12,)),  # two anchors, then three
    ],
)
def test_what_does_not_fit_is_left(name, saved, start):
    assert CLASSES.carry(name, numbered(*saved), numbered(*start)) is None


def test_the_account():
    assert str(CLASSES) == "classes: dog by name, cow new"
    assert str(CarriedClasses(["", "a"], ["", "b"])) == "classes: b new"
    assert (
        str(CarriedClasses(["", "a", "b"], ["", "b", "a"])) == "classes: a, b by name"
    )


def test_a_checkpoint_without_names_is_said_to_have_none():
    unknown = CarriedClasses([], ["", "a"])
    assert not unknown.are_known
    assert "by position" in str(unknown)


@pytest.mark.parametrize(
    ("before", "now", "differ"),
    [
        (["background", "a"], ["", "a"], False),
        (["", "a", "b"], ["", "b", "a"], True),
        ([], ["", "a"], False),  # Not known.
        (["", "a"], [], False),
    ],
)
def test_when_classes_differ(before, now, differ):
    assert CarriedClasses(before, now).differ is differ


def test_names_are_those_of_the_run(tmp_path):
    assert saved_class_names(str(tmp_path / "ckpt-1")) == []
    (tmp_path / "params.yaml").write_text("task: {class_names: [null, a, 7]}\n")
    for path in ("ckpt-1", "best_ckpt/ckpt-1"):
        assert saved_class_names(str(tmp_path / path)) == ["", "a", "7"]
    (tmp_path / "params.yaml").write_text("task: {}\n")  # Model Garden's own.
    assert saved_class_names(str(tmp_path / "ckpt-1")) == []


def detector(kind, names):
    params = tiny.experiment(f"libra_{kind}_resnetfpn_coco")
    params.task.model.num_classes = len(names)
    params.task.class_names = names
    return params.task, tiny.build(params, seed=len(names))[1]


@pytest.mark.parametrize("kind", ["maskrcnn", "retinanet"])
def test_a_detector_starts_from_one_of_other_classes(tmp_path, kind):
    """All weights are taken; each class scores with what it had under its name."""
    _, old = detector(kind, ["", "a", "b"])
    for layer in old.submodules:
        if isinstance(layer, tf_keras.layers.Layer) and layer.name.endswith("head"):
            for number, weight in enumerate(layer.trainable_weights):
                shape = weight.shape
                weight.assign(numbered(*shape) / np.prod(shape) + number)
    path = tf.train.Checkpoint(**old.checkpoint_items).write(str(tmp_path / "ckpt"))
    (tmp_path / "params.yaml").write_text("task: {class_names: ['', a, b]}\n")

    task, new = detector(kind, ["", "c", "b", "a"])
    task.init_checkpoint, task.init_checkpoint_modules = path, "all"
    report = initialize_model(task, new)
    assert report.restored == report.total
    assert str(report).endswith("classes: a, b by name, c new")
    heads = [(old.head, new.head)] if kind == "retinanet" else [
        (old.detection_head[0], new.detection_head[0])
    ]  # fmt: skip
    for before, after in heads:
        kernels = [head._classifier.kernel.numpy() for head in (before, after)]
        one, other = (
            k.reshape(*k.shape[:-1], -1, size)
            for k, size in zip(kernels, (3, 4), strict=True)
        )
        np.testing.assert_array_equal(other[..., [0, 3, 2]], one)


def test_equal_classes_are_taken_as_they_are(tmp_path):
    part = types.SimpleNamespace
    head = tf.Module()
    head._classifier = tf.Module()
    head._classifier.bias = tf.Variable([1.0, 2.0])
    path = tf.train.Checkpoint(head=head).write(str(tmp_path / "ckpt"))
    (tmp_path / "params.yaml").write_text("task: {class_names: ['', a]}\n")
    head._classifier.bias.assign([0.0, 0.0])
    task = part(
        init_checkpoint=path, init_checkpoint_modules="all", class_names=["", "a"]
    )
    report = initialize_model(task, part(checkpoint_items={"head": head}))
    assert head._classifier.bias.numpy().tolist() == [1.0, 2.0]
    assert report.classes is None
    (tmp_path / "params.yaml").unlink()
    report = initialize_model(task, part(checkpoint_items={"head": head}))
    assert str(report).endswith("the checkpoint does not tell their names")
