"""ops.empty_boxes, and the detections and proposals that use it."""

import numpy as np
import pytest
import tensorflow as tf
from official.vision.modeling.layers import detection_generator, roi_generator

from libra_tf.models.clipped_detections import (
    ClippedDenseDetectionGenerator,
    ClippedDetectionGenerator,
)
from libra_tf.models.reference_detections import ReferenceDetectionGenerator
from libra_tf.models.reference_proposals import ReferenceROIGenerator, ROIGenerator
from libra_tf.ops.empty_boxes import (
    without_empty,
    without_sigmoid_classes,
    without_softmax_classes,
)

SIZE, STRIDE, CLASSES = 64, 8, 3
WIDE = tf.constant([[24.0, 64.0], [64.0, 64.0]])  # the first image ends at row 24
FULL = tf.constant([[64.0, 64.0], [64.0, 64.0]])


def pyramid(seed=0, spread=0.2):
    """Scores, deltas and anchors of one level, in two images, of one anchor a cell."""
    rng = np.random.default_rng(seed)
    corner = np.mgrid[0:SIZE:STRIDE, 0:SIZE:STRIDE].transpose(1, 2, 0)
    anchors = np.concatenate([corner, corner + STRIDE], axis=-1).astype("f4")
    deltas = rng.normal(0, spread, (2, 8, 8, 4)).astype("f4")
    logits = rng.normal(0, 2, (2, 8, 8, CLASSES)).astype("f4")
    levels = (logits, deltas, np.stack([anchors, anchors]))
    return tuple({"3": tf.constant(x)} for x in levels)


def rois_of(seed=0, spread=0.2):
    """Deltas of each class, logits and RoIs, in two images."""
    logits, _, anchors = (x["3"] for x in pyramid(seed))
    rng = np.random.default_rng(seed + 1)
    deltas = rng.normal(0, 10 * spread, (2, 64, CLASSES * 4)).astype("f4")
    flat = tf.reshape(logits, [2, 64, CLASSES]), tf.reshape(anchors, [2, 64, 4])
    return tf.constant(deltas), *flat


def outside(boxes, shape):
    """Which of the boxes [K, 4] have no area inside the image."""
    clipped = np.clip(boxes, 0, np.tile(shape, 2))
    return ~(clipped[:, 2:] > clipped[:, :2]).all(axis=-1)


def test_scores_of_boxes_beyond_the_border_are_gone():
    logits, deltas, anchors = pyramid(spread=0.0)
    found = without_empty(logits, deltas, anchors, WIDE)["3"].numpy()
    np.testing.assert_array_equal(found[0, :3], logits["3"][0, :3])
    np.testing.assert_array_equal(tf.sigmoid(found[0, 3:]), 0)
    np.testing.assert_array_equal(found[1], logits["3"][1])


def test_a_box_that_touches_the_border_is_outside():
    logits, deltas, anchors = pyramid(spread=0.0)
    shape = tf.constant([[24.0, 64.0], [24.5, 64.0]])
    found = without_empty(logits, deltas, anchors, shape)["3"].numpy()
    assert (found[0, 3] == -1e4).all()
    np.testing.assert_array_equal(found[1, 3], logits["3"][1, 3])


def test_the_softmax_of_the_others_stays():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (2, 20, 4)).astype("f4")
    kept = rng.random((2, 20, 3)) < 0.5
    kept[0, 0] = True
    found = without_softmax_classes(tf.constant(logits), tf.constant(kept)).numpy()
    before, after = (tf.nn.softmax(x).numpy()[..., 1:] for x in (logits, found))
    np.testing.assert_allclose(after[kept], before[kept], rtol=1e-5)
    assert (after[~kept] == 0).all()
    whole = kept.all(axis=-1)
    np.testing.assert_array_equal(found[whole], logits[whole])
    sigmoid = without_sigmoid_classes(tf.constant(logits), tf.constant(kept)).numpy()
    np.testing.assert_array_equal(sigmoid[..., 0], logits[..., 0])
    np.testing.assert_array_equal(sigmoid[..., 1:][kept], logits[..., 1:][kept])
    assert (tf.sigmoid(sigmoid[..., 1:][~kept]).numpy() == 0).all()


def test_half_precision_does_not_round_the_others():
    logits = tf.cast(np.random.default_rng(0).normal(size=(1, 5, 3)), tf.bfloat16)
    kept = tf.constant([[[True, False]] * 5])
    found = tf.nn.softmax(without_softmax_classes(logits, kept)).numpy()
    before = tf.nn.softmax(tf.cast(logits, tf.float32)).numpy()
    np.testing.assert_allclose(found[..., 1], before[..., 1], rtol=1e-5)
    assert (found[..., 2] == 0).all()


DENSE = {"pre_nms_score_threshold": 0.0, "max_num_detections": 20, "pre_nms_top_k": 20}


def dense(kind, shape, seed=0, spread=0.2, **settings):
    logits, deltas, anchors = pyramid(seed, spread)
    return kind(**DENSE, **settings)(deltas, logits, anchors, shape)


@pytest.mark.parametrize("nms", ["batched", "v1", "v2", "v3"])
def test_no_place_is_lost_to_the_padding_of_retinanet(nms):
    stock = detection_generator.MultilevelDetectionGenerator
    lost, found = (
        dense(kind, WIDE, nms_version=nms)
        for kind in (stock, ClippedDenseDetectionGenerator)
    )
    assert outside(lost["detection_boxes"][0].numpy(), WIDE[0]).any()
    assert not outside(found["detection_boxes"][0].numpy(), WIDE[0]).any()
    assert list(found["num_detections"]) == [20, 20]
    # The best that stock has inside are still the best.
    inside = ~outside(lost["detection_boxes"][0].numpy(), WIDE[0])
    scores = np.asarray(lost["detection_scores"][0])[inside]
    np.testing.assert_array_equal(found["detection_scores"][0][: len(scores)], scores)


@pytest.mark.parametrize("nms", ["batched", "v1", "v2", "v3"])
def test_boxes_are_judged_as_they_are_decoded(nms):
    """With the coder's weights; the version v3 decodes without."""
    found = dense(
        ClippedDenseDetectionGenerator, WIDE, spread=3.0, nms_version=nms,
        box_coder_weights=[10.0, 10.0, 5.0, 5.0],
    )  # fmt: skip
    assert found["num_detections"][0] == 20
    assert not outside(found["detection_boxes"][0].numpy(), WIDE[0]).any()


@pytest.mark.parametrize("nms", ["batched", "v1", "v2", "v3"])
def test_retinanet_is_model_gardens_where_the_picture_fills_the_input(nms):
    kinds = (
        detection_generator.MultilevelDetectionGenerator,
        ClippedDenseDetectionGenerator,
    )
    stock, ours = (dense(kind, FULL, nms_version=nms) for kind in kinds)
    assert stock["num_detections"][0] > 0
    for key in ("boxes", "scores", "classes"):
        key = f"detection_{key}"
        np.testing.assert_array_equal(ours[key], stock[key])


def detect(kind, shape, spread=0.2, per_class=True, **settings):
    deltas, logits, rois = rois_of(spread=spread)
    deltas = deltas if per_class else deltas[..., :4]
    generator = kind(**DENSE, **settings)
    weights = [10.0, 10.0, 5.0, 5.0]
    return generator(deltas, logits, rois, shape, weights, bbox_per_class=per_class)


@pytest.mark.parametrize("per_class", [True, False])
@pytest.mark.parametrize("sigmoid", [True, False])
def test_no_place_is_lost_to_the_padding_of_an_rcnn(sigmoid, per_class):
    settings = {"use_sigmoid_probability": sigmoid, "per_class": per_class}
    stock = detection_generator.DetectionGenerator
    lost, found = (
        detect(kind, WIDE, **settings) for kind in (stock, ClippedDetectionGenerator)
    )
    assert outside(lost["detection_boxes"][0].numpy(), WIDE[0]).any()
    assert not outside(found["detection_boxes"][0].numpy(), WIDE[0]).any()
    assert list(found["num_detections"]) == [20, 20]
    stock, ours = (
        detect(kind, FULL, **settings) for kind in (stock, ClippedDetectionGenerator)
    )
    for key in ("boxes", "scores", "classes"):
        key = f"detection_{key}"
        np.testing.assert_array_equal(ours[key], stock[key])


@pytest.mark.parametrize("per_class", [True, False])
def test_detections_in_the_reference_form_drop_them_where_asked(per_class):
    kind = ReferenceDetectionGenerator
    kept, found = (
        detect(kind, WIDE, per_class=per_class, drops_empty=drops)
        for drops in (False, True)
    )
    assert outside(kept["detection_boxes"][0].numpy(), WIDE[0]).any()
    assert not outside(found["detection_boxes"][0].numpy(), WIDE[0]).any()
    assert kind(drops_empty=True).get_config()["drops_empty"]


@pytest.mark.parametrize("training", [True, False])
def test_no_place_is_lost_to_the_padding_of_proposals(training):
    logits, deltas, anchors = pyramid()
    scores = {"3": logits["3"][..., :1]}
    few = {
        f"{prefix}{name}": 20
        for name in ("pre_nms_top_k", "num_proposals")
        for prefix in ("", "test_")
    }
    stock = roi_generator.MultilevelROIGenerator(**few)
    lost = stock(deltas, scores, anchors, WIDE, training)[0].numpy()
    assert outside(lost[0], WIDE[0]).any()
    for generator in (
        ROIGenerator(drops_empty=True, **few),
        ReferenceROIGenerator(drops_empty=True, test_drops_empty=True, **few),
    ):
        found, _ = generator(deltas, scores, anchors, WIDE, training)
        assert found.shape == (2, 20, 4)
        assert not outside(found[0].numpy(), WIDE[0]).any()
        again = type(generator).from_config(generator.get_config())
        same, _ = again(deltas, scores, anchors, WIDE, training)
        np.testing.assert_array_equal(found, same)
    ours = ROIGenerator(drops_empty=True, **few)
    for one, other in zip(
        ours(deltas, scores, anchors, FULL, training),
        stock(deltas, scores, anchors, FULL, training),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_too_few_proposals_are_followed_by_empty_ones():
    logits, deltas, anchors = pyramid(spread=0.0)
    generator = ROIGenerator(drops_empty=True, test_num_proposals=60)
    shape = tf.constant([[8.0, 64.0], [8.0, 64.0]])
    scores = {"3": logits["3"][..., :1]}
    found, scores = generator(deltas, scores, anchors, shape, False)
    empty = outside(found[0].numpy(), shape[0])
    assert list(np.flatnonzero(~empty)) == list(range(8))
    assert (scores[0, 8:].numpy() == 0).all()
