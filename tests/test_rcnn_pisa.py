"""criteria.rcnn_pisa: PISA's published numbers through the two-stage path."""

import numpy as np
import pytest
import tensorflow as tf
from official.vision.ops import box_ops
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf.criteria.rcnn_pisa import (
    _predicted_iou,
    carl_loss,
    roi_class_weights,
)
from libra_tf.experiments import loss_config
from libra_tf.experiments.saved import get_experiment, override
from libra_tf.losses import l1, smooth_l1
from libra_tf.ops.boxes import paired_iou
from libra_tf.tasks import LibraMaskRCNNTask

# Six positives. Class 1: three RoIs of one object, one of another; class 2: two.
IOU = [0.9, 0.6, 0.8, 0.7, 0.95, 0.3]
CLASSES = [1, 1, 1, 1, 2, 2]
# Background last, as published.
LOGITS = [[2, 0, 0], [1, 0, 0], [0, 0, 0], [0.5, 0, 1], [0, 3, 0], [0, 0, 2]]
ENTROPIES = [0.2395448, 0.5514446, 1.0986123, 1.1802697, 0.0949229, 2.2395446]
WEIGHTS = {
    (2.0, 0.0): [2.105123, 0.131570, 0.526281, 1.184132, 2.105123, 1.184132],
    (1.0, 0.0): [1.506858, 0.376714, 0.753429, 1.130143, 1.506858, 1.130143],
    (2.0, 0.2): [1.797324, 0.287572, 0.647037, 1.150287, 1.797324, 1.150287],
}
# Each object in an image of its own, there the first of all: [image, row].
PLACES = ([0, 0, 0, 1, 2, 2], [0, 2, 3, 1, 0, 1])


def placed(values, fill, shape=(3, 4), dtype=np.float32):
    """The values of the six positives in a batch of three images of four RoIs."""
    array = np.full((*shape, *np.shape(values)[1:]), fill, dtype)
    array[PLACES] = values
    return array


def outputs(delta_of=lambda iou: 5 * np.log(iou), num_classes=3):
    """What the model gives for the six; two rows are background, four fill."""
    targets = placed(CLASSES, -1, dtype=np.int32)
    targets[0, 1] = targets[2, 3] = 0
    # Background first, as Model Garden has it.
    logits = placed(np.float32(LOGITS)[:, [2, 0, 1]], 0.3)
    deltas = np.full((3, 4, num_classes, 4), 9.0)  # of classes not wanted
    rng = np.random.default_rng(0)
    box_targets = rng.normal(0, 1, (3, 4, 4))
    for image, row, iou in zip(*PLACES, IOU, strict=True):
        # A box that is narrower by the IoU, about the same center.
        deltas[image, row, targets[image, row]] = box_targets[image, row]
        deltas[image, row, targets[image, row], 3] += delta_of(iou)
    return {
        "class_targets": tf.constant(targets, tf.float32),
        "class_outputs": tf.constant(logits),
        "class_weights": tf.ones([3, 4]),
        "box_targets": tf.constant(box_targets, tf.float32),
        "box_outputs": tf.constant(deltas.reshape(3, 4, -1), tf.float32),
        "matched_gt_indices": tf.constant(np.where(targets > 0, 0, -1), tf.float32),
    }


def isr(k=2.0, bias=0.0):
    return loss_config.PositiveImportance(enabled=True, k=k, bias=bias)


def test_the_predicted_iou_of_the_six():
    assert_close(_predicted_iou(outputs()).numpy()[PLACES], IOU, of=REDUCTION)


@pytest.mark.parametrize(("k", "bias"), WEIGHTS)
def test_published_weights_over_three_images(k, bias):
    weights = roi_class_weights(outputs(), isr(k, bias)).numpy()
    np.testing.assert_allclose(weights[PLACES], WEIGHTS[k, bias], atol=2e-6)
    total = np.sum(weights[PLACES] * ENTROPIES)
    assert_close(total, 5.404339, of=ELEMENTWISE)
    others = placed([False] * 6, True, dtype=bool)
    np.testing.assert_array_equal(weights[others], 1)


def test_objects_of_an_image_are_apart_too():
    """All six in one image, with three objects of their own."""
    one = outputs()
    rows = list(zip(*PLACES, strict=True))
    flat = {
        k: np.stack([v.numpy()[i, j] for i, j in rows])[None] for k, v in one.items()
    }
    flat["matched_gt_indices"] = np.array([[4, 4, 4, 1, 0, 0]])
    weights = roi_class_weights(flat, isr())
    np.testing.assert_allclose(weights[0], WEIGHTS[2.0, 0.0], atol=2e-6)
    flat["matched_gt_indices"] = np.array([[4, 4, 4, 4, 0, 0]])
    together = roi_class_weights(flat, isr()).numpy()
    assert np.max(np.abs(together - weights)) > 0.1


def test_a_class_agnostic_head():
    agnostic = outputs()
    classes = np.maximum(agnostic["class_targets"].numpy().astype(int), 0)
    deltas = agnostic["box_outputs"].numpy().reshape(3, 4, 3, 4)
    agnostic["box_outputs"] = np.take_along_axis(deltas, classes[..., None, None], 2)[
        :, :, 0
    ]
    weights = roi_class_weights(agnostic, isr()).numpy()
    np.testing.assert_allclose(weights[PLACES], WEIGHTS[2.0, 0.0], atol=2e-6)


def test_the_samplers_weights_stay_and_are_multiplied():
    given = outputs()
    rng = np.random.default_rng(1)
    old = rng.uniform(0.2, 3, (3, 4)).astype(np.float32)
    old[PLACES] = 2.0  # weights all the same change the scale alone
    given["class_weights"] = tf.constant(old)
    weights = roi_class_weights(given, isr()).numpy()
    np.testing.assert_allclose(
        weights[PLACES], 2 * np.array(WEIGHTS[2.0, 0.0]), atol=4e-6
    )
    others = placed([False] * 6, True, dtype=bool)
    np.testing.assert_array_equal(weights[others], old[others])
    off = loss_config.PositiveImportance()
    np.testing.assert_array_equal(roi_class_weights(given, off), old)


def test_no_positives():
    given = outputs()
    given["class_targets"] = tf.minimum(given["class_targets"], 0)
    given["matched_gt_indices"] = -tf.ones_like(given["matched_gt_indices"])
    np.testing.assert_array_equal(roi_class_weights(given, isr()), np.ones([3, 4]))
    assert float(carl(given)) == 0


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla(jit_compile):
    traced = tf.function(lambda x: roi_class_weights(x, isr()), jit_compile=jit_compile)
    expected = roi_class_weights(outputs(), isr())
    assert_close(traced(outputs()), expected, of=REDUCTION)


def test_weights_have_no_gradient():
    given = outputs()
    watched = given["class_outputs"], given["box_outputs"]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        loss = tf.reduce_sum(roi_class_weights(given, isr()))
    assert tape.gradient(loss, watched) == (None, None)


@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
def test_the_iou_from_a_unit_box_is_that_of_the_decoded_rois(scale):
    """Also of boxes outside the image, at negative coordinates, and of huge ones."""
    rng = np.random.default_rng(2)
    corner = rng.uniform(0, 400, (3, 50, 2))
    rois = np.concatenate([corner, corner + rng.uniform(4, 200, corner.shape)], -1)
    weights = [10.0, 10.0, 5.0, 5.0]
    std = np.array([10, 10, 5, 5])
    targets = rng.uniform(-0.3, 0.3, (3, 50, 4)) * std  # they overlap their RoI
    predicted = targets + rng.normal(0, scale, (3, 50, 4)) * std
    rois, targets, predicted = (
        tf.constant(x, tf.float32) for x in (rois, targets, predicted)
    )
    boxes, wanted = (
        box_ops.decode_boxes(x, rois, weights=weights) for x in (predicted, targets)
    )
    # Far from the origin nothing is negative, and no box taken for padding.
    expected = paired_iou(boxes + 2.0**14, wanted + 2.0**14)
    found = _predicted_iou(
        {
            "class_targets": tf.ones([3, 50]),
            "box_outputs": predicted,
            "box_targets": targets,
        }
    )
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert np.all(found >= 0)
    if scale < 4:
        assert np.mean(found > 0.1) > 0.2


def carl(
    given, weight=1.0, k=1.0, bias=0.2, normalizer="reference", elementwise=smooth_l1
):
    config = loss_config.ClassAwareRegression(weight=weight, k=k, bias=bias)
    return carl_loss(given, config, elementwise, normalizer)


def errors_as_published():
    """The prediction is off by 10 (1 - IoU) in the last coordinate alone."""
    return outputs(lambda iou: 10 * (1 - iou))


def test_published_carl():
    """Over the eight RoIs, two of them background."""
    loss = carl(errors_as_published())
    assert_close(loss, 1.3508083, of=ELEMENTWISE)
    half = carl(errors_as_published(), weight=0.5)
    assert_close(half, 1.3508083 / 2, of=ELEMENTWISE)
    by_coordinates = carl(errors_as_published(), normalizer="positives")
    assert_close(by_coordinates, 1.3508083 * 8 / 24, of=ELEMENTWISE)


def test_carl_with_k_zero_is_the_box_loss():
    loss = carl(errors_as_published(), k=0.0, elementwise=l1)
    assert_close(loss, 10 * np.sum(1 - np.array(IOU)) / 8, of=REDUCTION)


def test_carl_teaches_the_score_of_the_positives_only():
    given = errors_as_published()
    watched = given["class_outputs"], given["box_outputs"]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        loss = carl(given)
    to_scores, to_boxes = tape.gradient(loss, watched)
    others = placed([False] * 6, True, dtype=bool)
    assert not np.any(to_scores.numpy()[others])
    assert not np.any(to_boxes.numpy()[others])
    to_scores = to_scores.numpy()[PLACES]
    own = to_scores[np.arange(6), CLASSES]
    # The worst box is unlearned, the best learned (a gradient is a descent).
    assert own[5] > 0 > own[4]


def task(**losses):
    config = get_experiment("libra_fasterrcnn_resnetfpn_coco").task
    losses = {"box": {"type": "smooth_l1"}} | losses
    override(config, {"model": {"num_classes": 3}, "losses": losses}, "test")
    return LibraMaskRCNNTask(config)


def test_the_task_weighs_the_class_loss():
    given = outputs()
    rows = np.sum(ENTROPIES), 2 * np.log(2 + 1)  # the background has equal logits
    plain, _ = task()._build_frcnn_losses(given, {})
    assert_close(plain, sum(rows) / 8, of=REDUCTION)
    weighed, box = task(isr={"enabled": True})._build_frcnn_losses(given, {})
    assert_close(weighed, plain, of=REDUCTION)
    # The total stays, the gradient does not.
    gradients = []
    for the_task in (task(), task(isr={"enabled": True})):
        with tf.GradientTape() as tape:
            tape.watch(given["class_outputs"])
            loss, _ = the_task._build_frcnn_losses(given, {})
        gradients.append(tape.gradient(loss, given["class_outputs"]).numpy())
    ratio = gradients[1][PLACES] / gradients[0][PLACES]
    assert_close(ratio[:, 0], WEIGHTS[2.0, 0.0], of=REDUCTION, scale=1.0)
    assert np.isfinite(box)


def test_without_the_samplers_weights_the_loss_is_plain():
    given = outputs()
    expected, _ = task()._build_frcnn_losses(given, {})
    del given["class_weights"], given["matched_gt_indices"]
    found, _ = task()._build_frcnn_losses(given, {})
    np.testing.assert_array_equal(found, expected)


def test_the_task_adds_carl_to_the_box_loss_with_its_weight():
    given = errors_as_published()
    _, plain = task()._build_frcnn_losses(given, {})
    _, more = task(carl={"weight": 1.0})._build_frcnn_losses(given, {})
    assert_close(more - plain, 1.3508083, of=REDUCTION)
    box = {"type": "smooth_l1", "weight": 3.0}
    _, thrice = task(carl={"weight": 1.0}, box=box)._build_frcnn_losses(given, {})
    assert_close(thrice, 3 * more, of=ELEMENTWISE)


@pytest.mark.parametrize("normalizer", ["tfm", "reference", "positives"])
@pytest.mark.parametrize("box", ["huber", "smooth_l1"])
def test_guided_scales_the_class_loss_to_the_box_loss(box, normalizer):
    settings = {"box": {"type": box}, "normalizer": normalizer}
    _, plain = task(**settings)._build_frcnn_losses(errors_as_published(), {})
    guided = task(**settings, guided={"enabled": True})
    class_loss, box_loss = guided._build_frcnn_losses(errors_as_published(), {})
    np.testing.assert_array_equal(box_loss, plain)
    assert_close(class_loss, 2 * box_loss, of=ELEMENTWISE)


@pytest.mark.parametrize("normalizer", ["tfm", "reference", "positives"])
def test_guided_scales_the_rpns_scores_to_its_boxes(normalizer):
    rng = np.random.default_rng(5)
    size = {"3": (2, 4, 4, 3)}
    scores, boxes = {}, {}
    targets, box_targets = {}, {}
    for level, shape in size.items():
        scores[level] = tf.constant(rng.normal(size=shape), tf.float32)
        boxes[level] = tf.constant(rng.normal(size=(*shape[:3], 12)), tf.float32)
        targets[level] = tf.constant(rng.integers(-1, 2, shape))
        box_targets[level] = tf.constant(rng.normal(size=(*shape[:3], 12)), tf.float32)
    given = {**outputs(), "rpn_scores": scores, "rpn_boxes": boxes}
    labels = {"rpn_score_targets": targets, "rpn_box_targets": box_targets}
    guided = task(normalizer=normalizer, guided={"enabled": True, "factor": 3.0})
    score_loss, box_loss = guided._build_rpn_losses(given, labels)
    assert_close(score_loss, 3 * box_loss, of=ELEMENTWISE)
    _, plain = task(normalizer=normalizer)._build_rpn_losses(given, labels)
    np.testing.assert_array_equal(box_loss, plain)
