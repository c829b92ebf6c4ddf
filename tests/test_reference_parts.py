"""Proposals and detections of the form "reference" by loops; settings that clash."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
import tiny
from test_group_nms import by_loops
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf.errors import UserError
from libra_tf.experiments.contradictions import check_detector, check_experiment
from libra_tf.experiments.fields import check_fields
from libra_tf.experiments.saved import override
from libra_tf.models.reference_detections import (
    ReferenceDenseDetectionGenerator,
    ReferenceDetectionGenerator,
)
from libra_tf.models.reference_proposals import ReferenceROIGenerator
from libra_tf.ops.boxes import decode_deltas
from libra_tf.ops.corner_anchors import corner_anchors
from libra_tf.weights.published_settings import published_model

IMAGE = (70.0, 90.0)  # padded to 96 x 96
LIMIT = math.log(1000 / 16)


def decode(anchors, deltas, weights=(1.0, 1.0, 1.0, 1.0)):
    """Clamped both ways and clipped to the image, in float64."""
    deltas = np.asarray(deltas, np.float64) / weights
    sides = anchors[..., 2:] - anchors[..., :2]
    centre = anchors[..., :2] + sides / 2 + deltas[..., :2] * sides
    half = np.exp(np.clip(deltas[..., 2:], -LIMIT, LIMIT)) * sides / 2
    boxes = np.concatenate([centre - half, centre + half], -1)
    return np.clip(boxes, 0, [*IMAGE, *IMAGE])


def pyramid_outputs(anchors_per_cell, classes, seed=0):
    """Anchors, deltas with some far out, and logits of levels 3 to 5."""
    settings = {"num_scales": 1, "aspect_ratios": [2.0, 0.5], "anchor_size": 4.0}
    anchors = corner_anchors((96, 96), min_level=3, max_level=5, **settings)
    rng = np.random.default_rng(seed)
    deltas, logits = {}, {}
    for level, boxes in anchors.items():
        shape = (1, *boxes.shape[:2])
        deltas[level] = rng.normal(0, 1, (*shape, 4 * anchors_per_cell)).astype("f4")
        deltas[level][..., 2::4] *= 4
        logits[level] = rng.normal(0, 2, (*shape, anchors_per_cell * classes)).astype(
            "f4"
        )
    return {k: x[tf.newaxis] for k, x in anchors.items()}, deltas, logits


def sigmoid(x):
    return 1 / (1 + np.exp(-np.float64(x)))


def test_decoding_clamps_from_below_on_request():
    anchors = np.float32([[10, 10, 1010, 110]])
    deltas = np.float32([[0, 0, -9, 9]])
    sides = [
        np.diff(decode_deltas(deltas, anchors, clamp_below=below).numpy()[0, [0, 2]])[0]
        for below in (False, True)
    ]
    np.testing.assert_allclose(sides, [1000 * math.exp(-9), 16], rtol=1e-3)


def assert_boxes_close(actual, expected):
    assert_close(actual, expected, of=REDUCTION, scale=max(IMAGE))


def test_proposals_by_loops():
    anchors, deltas, logits = pyramid_outputs(2, 1)
    generator = ReferenceROIGenerator(
        test_pre_nms_top_k=40, test_nms_iou_threshold=0.5, test_num_proposals=80
    )
    shape = tf.constant([IMAGE])
    found, found_scores = generator(deltas, logits, anchors, shape, training=False)
    boxes, scores, groups = [], [], []
    for group, level in enumerate(anchors):
        score = sigmoid(logits[level].reshape(-1))
        best = np.argsort(-score, kind="stable")[:40]
        decoded = decode(
            anchors[level].numpy().reshape(-1, 4), deltas[level].reshape(-1, 4)
        )
        boxes.append(decoded[best])
        scores.append(score[best])
        groups.append(np.full(len(best), group))
    boxes, scores, groups = (np.concatenate(x) for x in (boxes, scores, groups))
    valid = (boxes[:, 2:] > boxes[:, :2]).all(-1)
    assert not valid.all()
    rows = by_loops(boxes, scores, groups, valid, 0.5, 80)
    assert 20 < len(rows) < 80
    assert_boxes_close(found[0, : len(rows)], boxes[rows])
    assert_close(found_scores[0, : len(rows)], scores[rows], of=ELEMENTWISE, scale=1.0)
    assert not np.any(found[0, len(rows) :])


def test_proposals_need_a_size_and_a_score_if_asked():
    anchors, deltas, logits = pyramid_outputs(2, 1)
    generator = ReferenceROIGenerator(
        pre_nms_min_size_threshold=8.0, pre_nms_score_threshold=0.6, num_proposals=50
    )
    boxes, scores = generator(
        deltas, logits, anchors, tf.constant([IMAGE]), training=True
    )
    there = scores[0].numpy() > 0
    sides = (boxes[..., 2:] - boxes[..., :2])[0].numpy()[there]
    assert there.any()
    assert sides.min() > 8
    assert scores[0].numpy()[there].min() > 0.6


def test_detections_of_retinanet_by_loops():
    classes = 3
    anchors, deltas, logits = pyramid_outputs(2, classes + 1, seed=4)
    for level in logits:  # class 0, which is never found
        logits[level].reshape(-1, classes + 1)[:, 0] = 50
    generator = ReferenceDenseDetectionGenerator(
        pre_nms_top_k=60,
        pre_nms_score_threshold=0.3,
        nms_iou_threshold=0.4,
        max_num_detections=70,
    )
    found = generator(deltas, logits, anchors, tf.constant([IMAGE]))
    boxes, scores, groups = [], [], []
    for level in anchors:
        score = sigmoid(logits[level].reshape(-1, classes + 1)[:, 1:]).reshape(-1)
        best = np.argsort(-score, kind="stable")[:60]
        decoded = decode(
            anchors[level].numpy().reshape(-1, 4), deltas[level].reshape(-1, 4)
        )
        boxes.append(decoded[best // classes])
        scores.append(score[best])
        groups.append(best % classes)
    boxes, scores, groups = (np.concatenate(x) for x in (boxes, scores, groups))
    valid = (boxes[:, 2:] > boxes[:, :2]).all(-1) & (scores > 0.3)
    assert_found(
        found, boxes, scores, groups, by_loops(boxes, scores, groups, valid, 0.4, 70)
    )


def assert_found(found, boxes, scores, groups, rows):
    assert found["num_detections"].numpy().tolist() == [len(rows)]
    count = len(rows)
    assert_boxes_close(found["detection_boxes"][0, :count], boxes[rows])
    assert_close(
        found["detection_scores"][0, :count], scores[rows], of=ELEMENTWISE, scale=1.0
    )
    np.testing.assert_array_equal(
        found["detection_classes"][0, :count], groups[rows] + 1
    )
    assert not np.any(found["detection_classes"][0, count:])


@pytest.mark.parametrize("per_class", [True, False])
@pytest.mark.parametrize("most", [15, 200])
def test_detections_of_the_rcnn_by_loops(per_class, most):
    rng = np.random.default_rng(2)
    classes, weights = 4, (10.0, 10.0, 5.0, 5.0)
    corner = rng.uniform(0, 60, [1, 30, 2])
    rois = np.concatenate([corner, corner + rng.uniform(2, 40, [1, 30, 2])], -1)
    rois[0, 25:] = 0  # padding
    logits = rng.normal(0, 2, [1, 30, classes]).astype(np.float32)
    outputs = classes if per_class else 1
    deltas = rng.normal(0, 3, [1, 30, outputs, 4]).astype(np.float32)
    generator = ReferenceDetectionGenerator(
        pre_nms_score_threshold=0.1, nms_iou_threshold=0.3, max_num_detections=most
    )
    found = generator(
        deltas.reshape(1, 30, -1),
        logits,
        tf.constant(rois, tf.float32),
        tf.constant([IMAGE]),
        weights,
        bbox_per_class=per_class,
    )
    scores = np.exp(np.float64(logits[0]))
    scores = (scores / scores.sum(-1, keepdims=True))[:25, 1:]
    own = deltas[0, :25, 1:] if per_class else np.repeat(deltas[0, :25], 3, 1)
    boxes = decode(rois[0, :25, None], own, weights).reshape(-1, 4)
    groups = np.tile(np.arange(3), 25)
    scores = scores.reshape(-1)
    rows = by_loops(boxes, scores, groups, scores > 0.1, 0.3, most)
    assert_found(found, boxes, scores, groups, rows)


def test_what_the_reference_form_has_not():
    generator = ReferenceDenseDetectionGenerator(return_decoded=True)
    with pytest.raises(ValueError, match="no attributes, return_decoded"):
        generator({}, {}, {}, tf.constant([IMAGE]))


def experiment(kind, **changes):
    params = tiny.experiment(f"libra_{kind}_resnetfpn_coco")
    detector = "retinanet" if kind == "retinanet" else "faster_rcnn"
    for model in (published_model(detector), changes):
        override(params, {"task": {"model": model}}, "test")
    params.task.train_data.input_path = "*.tfrecord"
    params.task.validation_data.input_path = "*.tfrecord"
    params.task.init_checkpoint = "ckpt"
    return params


def test_the_published_forms_go_together():
    for kind in ("fasterrcnn", "retinanet"):
        check_experiment(experiment(kind))


def check(params):
    check_fields(params)
    check_detector(params)


CLASHES = [
    ("fasterrcnn", {"anchor": {"form": "torch"}}, "anchor.form is 'torch'; choose"),
    ("fasterrcnn", {"roi_aligner": {"form": "model_garden"}}, "roi_aligner.form to"),
    ("fasterrcnn", {"decoder": {"type": "fpn"}}, "decoder.type torch_fpn"),
    ("fasterrcnn", {"neck": {"type": "path_aggregation"}}, "neck.type none or"),
    ("fasterrcnn", {"canvas": {"short_side": 1400}}, "short_side is 1400, above"),
    ("fasterrcnn", {"canvas": {"divisor": 0}}, "divisor is 0"),
    ("fasterrcnn", {"roi_aligner": {"sampling_ratio": -1}}, "sampling_ratio is -1"),
    ("retinanet", {"backbone": {"torch_resnet": {"model_id": 18}}}, "model_id is 18"),
    ("retinanet", {"backbone": {"torch_resnet": {"norm": "group"}}}, "norm is 'group'"),
    ("retinanet", {"decoder": {"torch_fpn": {"extra_levels": "x"}}}, "extra_levels is"),
    ("retinanet", {"detection_generator": {"apply_nms": False}}, "and apply_nms"),
    ("retinanet", {"detection_generator": {"soft_nms_sigma": 0.5}}, "soft_nms_sigma"),
    ("retinanet", {"detection_generator": {"form": "model_garden"}}, "images have any"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "change", "message"), CLASHES)
def test_settings_that_clash(kind, change, message):
    params = experiment(kind, **change)
    with pytest.raises(UserError, match=message):
        check(params)


@pytest.mark.parametrize("kind", ["fasterrcnn", "retinanet"])
def test_evaluation_of_images_of_any_size_needs_no_label_map(kind):
    params = experiment(kind)
    params.task.train_data.decoder.type = "label_map_decoder"
    check_experiment(params)
    params.task.validation_data.decoder.type = "label_map_decoder"
    with pytest.raises(UserError, match="it must be 'simple_decoder'"):
        check_experiment(params)
    params.task.model.canvas.form = "model_garden"
    params.task.model.input_size = [512, 512, 3]
    check_experiment(params)


def test_xla_is_refused_where_windows_have_any_size():
    one_stage, two_stage = experiment("retinanet"), experiment("fasterrcnn")
    for params in (one_stage, two_stage):
        params.runtime.enable_xla = True
    check_experiment(one_stage)
    with pytest.raises(UserError, match=r"set runtime\.enable_xla to false"):
        check_experiment(two_stage)
