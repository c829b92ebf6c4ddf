"""Our detectors compute what the published ones compute in PyTorch, stage by stage."""

from __future__ import annotations

import functools

import goldens
import numpy as np
import pytest
import tensorflow as tf
from detections import Detections, assert_detections_close
from tolerances import ELEMENTWISE, NETWORK, NOISE, SCORES, assert_close

DETECTORS = ("faster_rcnn", "retinanet")
FIRST_LEVEL = {"faster_rcnn": 2, "retinanet": 3}
MOST, THRESHOLD = 100, 0.05  # Of the published detectors.


@functools.cache
def model(detector):
    return goldens.build(detector)


@functools.cache
def outputs(detector):
    """All stages of ours, by the names of the golden."""
    images, shape = goldens.image(detector)
    detect = model(detector)
    backbone = detect.backbone(images)
    fpn = detect.decoder.decoder(backbone)
    bfp = detect.decoder(backbone)
    found = detect(images, image_shape=shape, training=False)
    first = FIRST_LEVEL[detector]
    stages = {f"backbone{i}": backbone[str(i + 2)] for i in range(4)}
    for i in range(5):
        level = str(i + first)
        stages |= {f"fpn{i}": fpn[level], f"bfp{i}": bfp[level]}
        if detector == "faster_rcnn":
            stages[f"rpn_cls{i}"] = found["rpn_scores"][level]
            stages[f"rpn_reg{i}"] = xywh(found["rpn_boxes"][level])
        else:
            stages[f"head_cls{i}"] = without_class_0(found["cls_outputs"][level], 9)
            stages[f"head_reg{i}"] = xywh(found["box_outputs"][level])
    return stages, found


def xywh(deltas):
    deltas = np.asarray(deltas)
    return deltas.reshape(*deltas.shape[:-1], -1, 4)[..., [1, 0, 3, 2]].reshape(
        deltas.shape
    )


def without_class_0(logits, anchors):
    logits = np.asarray(logits)
    apart = logits.reshape(*logits.shape[:-1], anchors, -1)[..., 1:]
    return apart.reshape(*logits.shape[:-1], -1)


STAGES = [
    (detector, f"{name}{i}")
    for detector, heads in (
        ("faster_rcnn", ("rpn_cls", "rpn_reg")),
        ("retinanet", ("head_cls", "head_reg")),
    )
    for name in ("backbone", "fpn", "bfp", *heads)
    for i in range(4 if name == "backbone" else 5)
]


@pytest.mark.parametrize(("detector", "stage"), STAGES)
def test_stage(detector, stage):
    ours, theirs = outputs(detector)[0][stage], goldens.golden(detector)[stage]
    assert ours.shape == theirs.shape
    assert_close(ours, theirs, of=NETWORK)


def test_proposals():
    golden, (_, found) = goldens.golden("faster_rcnn"), outputs("faster_rcnn")
    detect, (images, shape) = model("faster_rcnn"), goldens.image("faster_rcnn")
    anchors = anchors_of(detect, images)
    _, scores = detect.roi_generator(
        found["rpn_boxes"], found["rpn_scores"], anchors, shape, training=False
    )
    theirs = goldens.yxyx(golden["proposals_xyxy"]), golden["proposal_scores"]
    assert_detections_close(
        *(
            Detections(*map(np.asarray, parts), np.ones(MOST))
            for parts in ((found["proposals"][0], scores[0]), theirs)
        ),
        side=max(images.shape),
        most=MOST,
    )


def anchors_of(detect, images):
    from libra_tf.models.anchors import batch_anchors

    return batch_anchors(images, detect.get_config())


def test_roi_features_and_heads_from_the_same_proposals():
    golden, detect = goldens.golden("faster_rcnn"), model("faster_rcnn")
    images, _ = goldens.image("faster_rcnn")
    rois = tf.constant(goldens.yxyx(golden["proposals_xyxy"])[np.newaxis])
    features = detect.decoder(detect.backbone(images))
    crops = detect.roi_aligner(features, rois)
    assert_close(crops[0], golden["roi_features"], of=NETWORK)
    classes, boxes = detect.detection_head[0](crops)
    theirs = golden["roi_cls_logits"]
    assert_close(np.roll(classes[0], -1, axis=-1), theirs, of=NETWORK)
    assert_close(xywh(boxes[0])[:, 4:], golden["roi_reg"], of=NETWORK)
    assert not np.any(boxes[0, :, :4])


@pytest.mark.parametrize("detector", DETECTORS)
def test_detections(detector):
    assert_detections(outputs(detector)[1], goldens.golden(detector))


def assert_detections(found, golden):
    names = ("scores", "labels")
    theirs = goldens.yxyx(golden["boxes_xyxy"]), *(golden[name] for name in names)
    ours = Detections.of_image(found, classes_from=1)
    assert_same(ours, Detections(*theirs), side=max(golden["image"].shape))


def assert_same(ours, theirs, side, of=SCORES):
    limits = {"threshold": THRESHOLD, "most": MOST}
    assert_detections_close(ours, theirs, side=side, of=of, **limits)


@pytest.mark.nightly
@pytest.mark.parametrize("detector", DETECTORS)
def test_a_saved_model_takes_images_of_any_size(detector, tmp_path):
    detect = model(detector)
    spec = [tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None, 2])]

    @tf.function(input_signature=spec, autograph=False)
    def serve(images, shape):
        found = detect(images, image_shape=shape, training=False)
        names = ("boxes", "scores", "classes")
        return {
            **{f"detection_{name}": found[f"detection_{name}"] for name in names},
            "num_detections": found["num_detections"],
        }

    module = tf.Module()
    module.detect, module.serve = detect, serve
    tf.saved_model.save(module, str(tmp_path), signatures=serve)
    loaded = tf.saved_model.load(str(tmp_path))
    images, shape = goldens.image(detector)
    assert_detections(loaded.serve(images, shape), goldens.golden(detector))


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_batch_equals_its_images(detector):
    """Of odd size; the second image ends before the first."""
    detect = model(detector)
    images = tf.random.stateless_normal([2, 97, 131, 3], [3, 4])
    shape = tf.constant([[97.0, 131.0], [60.0, 80.0]])
    together = detect(images, image_shape=shape, training=False)
    for i in range(2):
        image, own = images[i : i + 1], shape[i : i + 1]
        alone = detect(image, image_shape=own, training=False)
        found = Detections.of_image(together, i), Detections.of_image(alone)
        assert len(found[1].scores) > 0
        assert_same(*found, side=max(images.shape[1:3]), of=NOISE)


def test_padding_of_the_proposals_is_never_detected():
    """An image with fewer proposals than rows."""
    settings = {"test_pre_nms_top_k": 3, "test_num_proposals": 50}
    generator = {"pre_nms_score_threshold": 0.0, "nms_iou_threshold": 1.0}
    detect = goldens.build(
        "faster_rcnn", roi_generator=settings, detection_generator=generator
    )
    images, shape = goldens.image("faster_rcnn")
    found = detect(images, image_shape=shape, training=False)
    proposals = found["proposals"][0].numpy()
    there = (proposals[:, 2:] > proposals[:, :2]).all(-1)
    assert 0 < there.sum() <= 15
    assert not proposals[~there].any()
    count = found["num_detections"].numpy()[0]
    assert count == there.sum() * 5
    assert not found["detection_scores"][0, count:].numpy().any()


@pytest.mark.parametrize("detector", DETECTORS)
def test_boxes_end_at_the_image_not_at_its_padding(detector):
    detect, (images, _) = model(detector), goldens.image(detector)
    found = detect(images, image_shape=tf.constant([[101.0, 77.0]]), training=False)
    count = found["num_detections"].numpy()[0]
    boxes = found["detection_boxes"][0].numpy()[:count]
    assert_close(boxes.max(0)[2:], [101, 77], of=ELEMENTWISE)
    assert boxes.min() >= 0


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_detector_for_one_size_of_image(detector):
    images, shape = goldens.image(detector)
    detect = goldens.build(detector, size=images.shape[1:3])
    assert_detections(
        detect(images, image_shape=shape, training=False), goldens.golden(detector)
    )
