"""What a detector computes for the measures: inference mode, training's candidates."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tiny
from official.vision.ops import anchor
from tolerances import ELEMENTWISE, NETWORK, REDUCTION, assert_close

from libra_tf.diagnostics import forward
from libra_tf.samplers import SamplingRule, select_rois

IMAGES = tf.random.stateless_normal([2, tiny.SIZE, tiny.SIZE, 3], [1, 2])
GT = [[[4.0, 4, 30, 40], [20, 30, 60, 60]], [[8, 8, 24, 24], [-1, -1, -1, -1]]]


def detector(kind, neck="balanced_feature_pyramid"):
    params = tiny.experiment(f"libra_{kind}_resnetfpn_coco")
    params.override({"task": {"model": {"neck": {"type": neck}}}})
    if kind == "fasterrcnn":
        params.task.model.roi_generator.test_num_proposals = 7
    return tiny.build(params)[1]


def labels_of(kind):
    lowest, scales = (3, 3) if kind == "retinanet" else (2, 1)
    boxes = anchor.Anchor(
        lowest, 5, scales, [1.0, 2.0, 0.5], 4.0, (tiny.SIZE, tiny.SIZE)
    ).multilevel_boxes
    size = [float(tiny.SIZE)] * 2
    return {
        "image_info": tf.constant([[size, size, [1.0, 1.0], [0.0, 0.0]]] * 2),
        "anchor_boxes": {k: tf.tile(v[tf.newaxis], [2, 1, 1, 1])
                         for k, v in boxes.items()},
        "gt_boxes": tf.constant(GT),
        "gt_classes": tf.constant([[1, 3], [2, -1]]),
    }  # fmt: skip


@pytest.fixture(scope="module", params=["fasterrcnn", "retinanet"])
def ran(request):
    """Kind, model, its state before and the results."""
    model = detector(request.param)
    state = [v.numpy() for v in model.variables]
    return request.param, model, state, *forward.run_detector(model, IMAGES)


def test_nothing_of_the_model_changes(ran):
    _, model, state, *_ = ran
    for before, variable in zip(state, model.variables, strict=True):
        np.testing.assert_array_equal(before, variable.numpy(), variable.name)


def test_pyramids_are_those_before_and_after_the_neck(ran):
    kind, model, _, _, pyramids = ran
    levels = ["3", "4", "5"] if kind == "retinanet" else ["2", "3", "4", "5"]
    assert sorted(pyramids.before) == sorted(pyramids.after) == levels
    backbone = model.backbone(IMAGES)
    before = model.decoder.decoder(backbone)
    after = model.decoder(backbone)
    for level in levels:
        assert_close(pyramids.before[level], before[level], of=REDUCTION, scale=1.0)
        assert_close(pyramids.after[level], after[level], of=REDUCTION, scale=1.0)
        assert np.abs(after[level] - before[level]).max() > 1e-3
    assert model.is_two_stage == (kind == "fasterrcnn")


def test_without_a_neck_there_is_one_pyramid():
    model = detector("retinanet", neck="none")
    _, pyramids = forward.run_detector(model, IMAGES)
    assert pyramids.after is None
    expected = model.decoder(model.backbone(IMAGES))
    assert_close(pyramids.before["4"], expected["4"], of=REDUCTION, scale=1.0)


def test_candidates_are_training_s_proposals_and_the_ground_truth(ran):
    kind, model, _, outputs, _ = ran
    if kind == "retinanet":
        pytest.skip("no proposals")
    labels = labels_of(kind)
    boxes = forward.candidates(model, outputs, labels, mix_gt_boxes=True)
    assert boxes.shape == [2, 60 + 2, 4]
    np.testing.assert_array_equal(boxes[:, 60:], labels["gt_boxes"])
    alone = forward.candidates(model, outputs, labels, mix_gt_boxes=False)
    np.testing.assert_array_equal(alone, boxes[:, :60])


def test_the_head_answers_for_every_candidate_by_itself(ran):
    kind, model, _, outputs, _ = ran
    if kind == "retinanet":
        pytest.skip("no proposals")
    features = outputs["decoder_features"]
    boxes = tf.constant([[[0.0, 0, 20, 20], [-1, -1, -1, -1], [10, 10, 50, 60]]] * 2)
    heads = forward.run_head(model, features, boxes)
    assert heads.class_logits.shape == [2, 3, 4]
    assert heads.deltas.shape == [2, 3, 16]
    assert np.isfinite(heads.class_logits).all()
    last = forward.run_head(model, features, boxes[:, 2:])
    assert_close(heads.class_logits[:, 2:], last.class_logits, of=NETWORK)


def test_errors_of_positives_by_hand():
    labels = {
        "gt_boxes": tf.constant([[[0.0, 0, 20, 10], [-1, -1, -1, -1]]]),
        "gt_classes": tf.constant([[2, -1]]),
    }
    boxes = tf.constant([[[0.0, 0, 12, 10], [40, 40, 50, 50], [-1, -1, -1, -1]]])
    selection = select_rois(
        boxes,
        labels["gt_boxes"],
        rule=SamplingRule(num_sampled_rois=4),
        seed=tf.constant([0, 0]),
    )
    # Deltas of class c are c everywhere.
    deltas = tf.repeat(tf.range(4.0), 4)[tf.newaxis, tf.newaxis] * tf.ones([1, 3, 1])
    errors, positive = forward.rcnn_errors(selection, deltas, labels)
    assert positive.numpy().tolist() == [[True, False, False]]
    # The centre is off by 4 of 12 pixels, the height by 20 / 12; inverse standard
    # deviations 10 and 5.
    targets = np.array([10 * 4 / 12, 0, 5 * math.log(20 / 12), 0])
    assert_close(errors[0, 0], 2 - targets, of=REDUCTION, scale=1.0)


def test_errors_of_all_positives_not_of_a_drawn_part():
    labels = {
        "gt_boxes": tf.constant([[[0.0, 0, 10, 10]]]),
        "gt_classes": tf.constant([[1]]),
    }
    boxes = tf.constant([[[0.0, 0, 10, 10 - 0.1 * i] for i in range(9)]])
    selection = select_rois(
        boxes,
        labels["gt_boxes"],
        rule=SamplingRule(num_sampled_rois=4),
        seed=tf.constant([0, 0]),
    )
    _, positive = forward.rcnn_errors(selection, tf.zeros([1, 9, 8]), labels)
    assert int(tf.reduce_sum(tf.cast(selection.chosen_positive, tf.int32))) == 1
    assert positive.numpy().all()


def test_errors_of_anchors_are_in_the_order_of_their_weights():
    shapes = {"3": [1, 2, 2, 8], "4": [1, 1, 1, 8]}
    targets = {k: tf.random.stateless_normal(s, [1, 2]) for k, s in shapes.items()}
    shift = {"3": 0.25, "4": -1.0}
    outputs = {"box_outputs": {k: t + shift[k] for k, t in targets.items()}}
    weights = tf.constant([[0.0] * 7 + [1.0, 0.0, 1.0]])
    labels = {"box_targets": targets, "box_weights": weights}
    errors, positive = forward.anchor_errors(outputs, labels)
    assert errors.shape == [1, 10, 4]
    assert_close(errors[0, :8], 0.25, of=ELEMENTWISE, scale=1.0)
    assert_close(errors[0, 8:], -1.0, of=ELEMENTWISE, scale=1.0)
    assert np.flatnonzero(positive[0]).tolist() == [7, 9]
