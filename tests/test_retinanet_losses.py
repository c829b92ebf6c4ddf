"""LibraRetinaNetTask.build_losses: hand values on one row of anchors."""

import math

import numpy as np
import pytest
import tensorflow as tf
from tolerances import ELEMENTWISE, REDUCTION, tolerance

from libra_tf.experiments.saved import get_experiment, override
from libra_tf.tasks import LibraRetinaNetTask

CLASSES = 3


def task(box=None, **losses):
    config = get_experiment("libra_retinanet_resnetfpn_coco").task
    box = {"type": "l1", "weight": 1.0} | (box or {})
    losses = {"normalizer": "reference", "box": box} | losses
    override(config, {"model": {"num_classes": CLASSES}, "losses": losses}, "test")
    return LibraRetinaNetTask(config)


def batch(classes, errors, logit=0.0):
    """Outputs and labels; -2 is an ignored anchor, -1 background, else a class."""
    classes = np.asarray(classes, np.int32)
    images, anchors = classes.shape
    errors = np.broadcast_to(np.asarray(errors, np.float32), classes.shape)
    outputs = {
        "cls_outputs": {"3": tf.fill([images, 1, anchors, CLASSES], logit)},
        "box_outputs": {"3": tf.zeros([images, 1, anchors, 4])},
    }
    targets = np.repeat(errors[..., np.newaxis], 4, -1)[:, np.newaxis]
    labels = {
        "cls_targets": {"3": tf.constant(classes[:, np.newaxis, :, np.newaxis])},
        "box_targets": {"3": tf.constant(targets)},
        "cls_weights": tf.constant((classes != -2).astype(np.float32)),
        "box_weights": tf.constant((classes > 0).astype(np.float32)),
    }
    return outputs, labels


def losses(the_task, outputs, labels, **kwargs):
    names = ("total", "class", "box", "model")
    values = the_task.build_losses(outputs, labels, **kwargs)
    return {n: float(v) for n, v in zip(names, values, strict=True)}


def focal(logit, positive, gamma=2.0):
    """Focal loss of one logit, alpha 0.25."""
    p = 1 / (1 + math.exp(-logit))
    if positive:
        return -0.25 * (1 - p) ** gamma * math.log(p)
    return -0.75 * p**gamma * math.log(1 - p)


def test_box_loss_sums_four_coordinates_over_the_positives():
    # Two positives with errors 1 and 3; the rest does not count.
    outputs, labels = batch([[1, 2, -1, -2]], [[1.0, 3.0, 5.0, 7.0]])
    found = losses(task(), outputs, labels)
    assert found["box"] == pytest.approx(4 * (1 + 3) / 2)


def test_weight_counts_in_the_total_and_not_in_the_logged_box_loss():
    outputs, labels = batch([[1, -1]], 2.0)
    found = losses(task({"weight": 3.0}), outputs, labels)
    assert found["box"] == pytest.approx(8)
    assert found["model"] == pytest.approx(found["class"] + 3 * 8)
    assert found["total"] == found["model"]
    more = losses(task(loss_weight=2.0), outputs, labels, aux_losses=[tf.constant(5.0)])
    assert more["total"] == pytest.approx(2 * (more["class"] + 8 + 5))


@pytest.mark.parametrize("logit", [0.0, -2.0])
def test_class_loss_skips_ignored_anchors(logit):
    outputs, labels = batch([[2, -1, -2, -2]], 0.0, logit)
    expected = focal(logit, True) + (2 * CLASSES - 1) * focal(logit, False)
    found = losses(task(), outputs, labels)
    assert found["class"] == pytest.approx(expected, rel=tolerance(REDUCTION))


def test_every_image_counts_as_one_positive_at_least():
    outputs, labels = batch([[1, 1, 1], [-1, -1, -1]], 1.0)
    assert losses(task(), outputs, labels)["box"] == pytest.approx(3 * 4 / (3 + 1))


def test_the_normalizer_of_model_garden_is_positives_plus_one():
    outputs, labels = batch([[1, 1, 1], [-1, -1, -1]], 1.0)
    found = losses(task(normalizer="tfm"), outputs, labels)
    assert found["box"] == pytest.approx(3 * 4 / (3 + 1))
    outputs, labels = batch([[1, 1, 1]], 1.0)
    assert losses(task(normalizer="tfm"), outputs, labels)["box"] == pytest.approx(3)
    assert losses(task(), outputs, labels)["box"] == pytest.approx(4)


def test_huber_with_the_reference_normalizer_keeps_model_gardens_weight():
    outputs, labels = batch([[1, -1]], 1.0)
    settings = {"huber_loss_delta": 0.1, "box_loss_weight": 50.0}
    found = losses(task({"type": "huber"}, **settings), outputs, labels)
    # Huber of 1 with delta 0.1, mean of the four coordinates.
    assert found["box"] == pytest.approx(0.1 * (1 - 0.05), rel=tolerance(REDUCTION))
    assert found["model"] == pytest.approx(found["class"] + 50 * found["box"])


def test_all_off_is_model_gardens_loss():
    from official.vision.tasks.retinanet import RetinaNetTask

    ours = task({"type": "huber"}, normalizer="tfm")
    outputs, labels = batch([[1, -1, 2], [-1, -2, -1]], 0.7, 0.3)
    stock = RetinaNetTask(ours.task_config).build_losses(outputs, labels)
    assert list(losses(ours, outputs, labels).values()) == [float(v) for v in stock]


def test_balanced_l1_of_the_published_detector():
    box = {"type": "balanced_l1", "beta": 0.11, "form": "reference"}
    outputs, labels = batch([[1]], 0.5)
    found = losses(task(box), outputs, labels)
    assert found["box"] == pytest.approx(4 * 0.773593545, rel=tolerance(ELEMENTWISE))


@pytest.mark.parametrize("row", [[-1, -1], [-2, -2]])
def test_no_positives_give_finite_losses_and_gradients(row):
    outputs, labels = batch([row], 1.0)
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        total, *rest = task().build_losses(outputs, labels)
    assert np.all(np.isfinite([total, *rest]))
    assert float(rest[1]) == 0
    for gradient in tf.nest.flatten(tape.gradient(total, outputs)):
        assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("box_type", ["l1", "smooth_l1", "balanced_l1"])
def test_targets_of_anchors_without_box_may_hold_anything(box_type):
    outputs, labels = batch([[1, -1, -2]], [[0.5, math.nan, math.inf]])
    boxes = outputs["box_outputs"]["3"]
    with tf.GradientTape() as tape:
        tape.watch(boxes)
        total, _, box_loss, _ = task({"type": box_type}).build_losses(outputs, labels)
    assert float(box_loss) > 0
    gradient = tape.gradient(total, boxes).numpy()[0, 0]
    assert np.all(gradient[0] != 0)
    np.testing.assert_array_equal(gradient[1:], np.zeros([2, 4]))


def test_bfloat16_outputs():
    outputs, labels = batch([[1, -1]], 2.0)
    half = tf.nest.map_structure(lambda x: tf.cast(x, tf.bfloat16), outputs)
    assert losses(task(), half, labels) == losses(task(), outputs, labels)
