"""models.score_transform: what scores become, and that models take it for their own."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from official.vision.modeling import retinanet_model
from official.vision.modeling.layers import detection_generator
from official.vision.ops import anchor
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf.models.score_transform import ScoreTransform

CLASSES = 4  # with the background
ANCHORS = 2
SIZE = 32
NMS = ("v1", "v2", "v3", "batched")


def generator(**kwargs):
    settings = {"pre_nms_top_k": 20, "max_num_detections": 8} | kwargs
    return detection_generator.MultilevelDetectionGenerator(**settings)


def transform(**kwargs):
    inner = generator(**kwargs.pop("generator", {}))
    return ScoreTransform(inner, CLASSES, **kwargs)


def per_anchor(logits):
    return np.asarray(tf.cast(logits, tf.float32)).reshape(-1, CLASSES)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.maximum(np.asarray(x, np.float64), -500)))


def found_classes(found):
    """The classes among the detections of all images."""
    counts = np.asarray(found["num_detections"], int)
    rows = zip(np.asarray(found["detection_classes"]), counts, strict=True)
    return {int(c) for row, count in rows for c in row[:count]}


def outputs(batch=2):
    """Boxes, scores and anchors of two levels, and the size of the images."""
    rng = np.random.default_rng(0)
    boxes, scores = {}, {}
    for level, cells in (("3", 4), ("4", 2)):
        shape = (batch, cells, cells)
        boxes[level] = tf.constant(rng.normal(size=(*shape, ANCHORS * 4)), tf.float32)
        scores[level] = tf.constant(
            rng.normal(size=(*shape, ANCHORS * CLASSES)) * 2, tf.float32
        )
    anchors = anchor.Anchor(3, 4, ANCHORS, [1.0], 4.0, (SIZE, SIZE)).multilevel_boxes
    anchors = {k: tf.repeat(v[tf.newaxis], batch, axis=0) for k, v in anchors.items()}
    return boxes, scores, anchors, tf.fill([batch, 2], float(SIZE))


def test_by_hand():
    """Objectness 1.0 + 0.5 and class 1: 0.8176 * 0.7311."""
    raw = tf.constant([1.5, 1.0, -1.0, 0.0], shape=[1, 1, 1, CLASSES])
    out = transform(residual_objectness=True).transform(raw)
    scores = tf.sigmoid(out)[0, 0, 0]
    assert_close(scores[1], 0.597694835, of=ELEMENTWISE)
    assert_close(scores[3], 0.817574476 / 2, of=ELEMENTWISE)
    assert scores[0] == 0


def test_product_of_all_anchors():
    for raw in outputs()[1].values():
        out = transform(residual_objectness=True).transform(raw)
        assert out.shape == raw.shape
        logits = per_anchor(raw)
        expected = sigmoid(logits[:, :1]) * sigmoid(logits[:, 1:])
        scores = sigmoid(per_anchor(out))
        assert_close(scores[:, 1:], expected, of=REDUCTION)
        assert np.all(tf.sigmoid(per_anchor(out)[:, 0]) == 0)


def test_class_thresholds():
    layer = transform(has_class_thresholds=True)
    raw = outputs()[1]["3"]
    np.testing.assert_array_equal(layer.class_thresholds, np.zeros(CLASSES))
    before = per_anchor(layer.transform(raw))
    np.testing.assert_array_equal(before[:, 1:], per_anchor(raw)[:, 1:])
    layer.class_thresholds.assign([0.9, 0.3, 0.0, 0.7])
    scores = tf.sigmoid(per_anchor(raw)).numpy()
    after = tf.sigmoid(per_anchor(layer.transform(raw))).numpy()
    for c, threshold in ((1, 0.3), (2, 0.0), (3, 0.7)):
        low = scores[:, c] < threshold
        assert threshold == 0 or (low.any() and not low.all())
        np.testing.assert_array_equal(after[low, c], 0)
        np.testing.assert_array_equal(after[~low, c], scores[~low, c])


def test_the_threshold_itself_is_kept():
    layer = transform(has_class_thresholds=True)
    layer.class_thresholds.assign([0.0, 0.5, 0.5, 0.5])
    raw = tf.constant([9.0, 0.0, -1e-3, 1e-3], shape=[1, 1, 1, CLASSES])
    scores = tf.sigmoid(layer.transform(raw))[0, 0, 0].numpy()
    np.testing.assert_array_equal(scores > 0, [False, True, False, True])


def test_thresholds_are_of_the_product():
    layer = transform(residual_objectness=True, has_class_thresholds=True)
    layer.class_thresholds.assign([0.0, 0.6, 0.59, 0.0])
    raw = tf.constant([1.5, 1.0, 1.0, -3.0], shape=[1, 1, 1, CLASSES])
    scores = tf.sigmoid(layer.transform(raw))[0, 0, 0]
    assert_close(scores[:3], [0, 0, 0.597694835], of=ELEMENTWISE)


@pytest.mark.parametrize("residual", [False, True])
def test_extreme_logits(residual):
    layer = transform(residual_objectness=residual, has_class_thresholds=True)
    raw = tf.constant([-1e30, 1e30, -1e4, 1e4], shape=[1, 1, 1, CLASSES])
    assert not np.any(np.isnan(layer.transform(raw)))
    assert not np.any(np.isnan(layer.transform(-raw)))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(dtype):
    layer = transform(residual_objectness=True, has_class_thresholds=True)
    raw = tf.cast(outputs()[1]["3"], dtype)
    out = layer.transform(raw)
    assert out.dtype == tf.float32
    wide = layer.transform(tf.cast(raw, tf.float32))
    np.testing.assert_array_equal(out, wide)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_xla_and_unknown_batch(jit_compile):
    layer = transform(residual_objectness=True, has_class_thresholds=True)
    layer.class_thresholds.assign([0.0, 0.3, 0.2, 0.1])
    raw = outputs()[1]["3"]
    spec = tf.TensorSpec([None, *raw.shape[1:]])
    traced = tf.function(layer.transform, [spec], jit_compile=jit_compile)
    assert_close(traced(raw), layer.transform(raw), of=REDUCTION)
    shape = traced.get_concrete_function().output_shapes
    assert shape.as_list() == [None, *raw.shape[1:]]


@pytest.mark.parametrize("nms", NMS)
def test_nothing_transformed_is_the_generator(nms):
    arguments = outputs()
    settings = {"nms_version": nms}
    expected = generator(**settings)(*arguments)
    for kwargs in ({}, {"has_class_thresholds": True}):
        actual = transform(generator=settings, **kwargs)(*arguments)
        assert set(actual) == set(expected)
        for key in ("num_detections", "detection_boxes", "detection_scores"):
            np.testing.assert_array_equal(actual[key], expected[key])


@pytest.mark.parametrize("nms", NMS)
def test_detections_have_the_score_of_the_product(nms):
    boxes, scores, anchors, shape = outputs()
    layer = transform(residual_objectness=True, generator={"nms_version": nms})
    found = layer(boxes, scores, anchors, shape)
    for i in range(2):
        logits = np.concatenate([per_anchor(x[i]) for x in scores.values()])
        products = sigmoid(logits[:, :1]) * sigmoid(logits[:, 1:])
        count = int(found["num_detections"][i])
        assert count > 0
        # The best of all is never suppressed.
        assert_close(found["detection_scores"][i][0], products.max(), of=REDUCTION)
        classes = np.asarray(found["detection_classes"][i][:count], int)
        assert classes[0] == products.max(0).argmax() + 1
        for score, c in zip(found["detection_scores"][i], classes, strict=False):
            error = np.abs(products[:, c - 1] - score).min()
            assert error < 1e-6


@pytest.mark.parametrize("nms", NMS)
@pytest.mark.parametrize("residual", [False, True])
def test_a_class_below_its_threshold_is_not_detected(nms, residual):
    arguments = outputs()
    layer = transform(
        residual_objectness=residual,
        has_class_thresholds=True,
        generator={"nms_version": nms, "pre_nms_score_threshold": 0.0},
    )

    assert found_classes(layer(*arguments)) == {1, 2, 3}
    layer.class_thresholds.assign([0.0, 0.0, 1.0, 0.0])
    assert found_classes(layer(*arguments)) == {1, 3}


def test_attributes_and_decoded_results_pass():
    boxes, scores, anchors, shape = outputs()
    attributes = {"depth": {k: v[..., :ANCHORS] for k, v in boxes.items()}}
    layer = transform(
        residual_objectness=True, generator={"apply_nms": False, "nms_version": "v1"}
    )
    decoded = layer(boxes, scores, anchors, shape, attributes)
    assert decoded["decoded_box_attributes"]["depth"].shape == (2, 40, 1, 1)
    logits = np.concatenate([per_anchor(x[0]) for x in scores.values()])
    products = sigmoid(logits[:, :1]) * sigmoid(logits[:, 1:])
    assert_close(decoded["decoded_box_scores"][0], products, of=REDUCTION)


@pytest.mark.parametrize("flag", [False, True])
def test_comes_back_from_its_config(flag):
    layer = transform(
        residual_objectness=flag,
        has_class_thresholds=not flag,
        generator={"nms_version": "v2", "return_decoded": True},
        name="detections",
    )
    config = layer.get_config()
    assert config["apply_nms"] is True
    assert config["return_decoded"] is True
    restored = ScoreTransform.from_config(config)
    assert restored.get_config() == config
    assert restored.name == "detections"
    restored = tf_keras.layers.deserialize(tf_keras.layers.serialize(layer))
    assert restored.get_config() == config
    for key in ("detection_scores", "detection_boxes"):
        np.testing.assert_array_equal(restored(*outputs())[key], layer(*outputs())[key])


class Features(tf_keras.layers.Layer):
    """Two levels of an image, in place of backbone and decoder."""

    def call(self, images):
        return {"3": images[:, ::8, ::8], "4": images[:, ::16, ::16]}


class Head(tf_keras.layers.Layer):
    """Linear scores and boxes."""

    def __init__(self):
        super().__init__()
        start = tf_keras.initializers.RandomNormal(stddev=2.0, seed=1)
        self.scores = tf_keras.layers.Dense(ANCHORS * CLASSES, kernel_initializer=start)
        self.boxes = tf_keras.layers.Dense(ANCHORS * 4)

    def call(self, features):
        scores = {k: self.scores(x) for k, x in features.items()}
        return scores, {k: self.boxes(x) for k, x in features.items()}, {}


def model(layer):
    parts = {
        "backbone": Features(),
        "decoder": None,
        "head": Head(),
        "detection_generator": generator(),
        "min_level": 3,
        "max_level": 4,
        "num_scales": ANCHORS,
        "aspect_ratios": [1.0],
        "anchor_size": 4.0,
    }
    base = retinanet_model.RetinaNetModel(**parts)
    return retinanet_model.RetinaNetModel.from_config(
        {**base.get_config(), "detection_generator": layer}
    )


def images():
    rng = np.random.default_rng(4)
    return tf.constant(rng.normal(size=(2, SIZE, SIZE, 3)), tf.float32)


def detect(detector):
    shape = tf.fill([2, 2], float(SIZE))
    return detector(images(), image_shape=shape, training=False)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_inside_a_model(policy):
    tf_keras.mixed_precision.set_global_policy(policy)
    try:
        layer = transform(residual_objectness=True, has_class_thresholds=True)
        detector = model(layer)
        found = detect(detector)
        thresholds = np.float32([0, 0.1, 1.0, 0.3])
        layer.class_thresholds.assign(thresholds)
        strict = detect(detector)
        reread = detector.detection_generator.class_thresholds
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    assert 2 in found_classes(found)
    assert 2 not in found_classes(strict)
    # The losses see what the head said.
    assert found["cls_outputs"]["3"].shape == (2, 4, 4, ANCHORS * CLASSES)
    assert np.any(per_anchor(found["cls_outputs"]["3"])[:, 0] > -100)
    np.testing.assert_array_equal(reread, thresholds)
    assert reread.dtype == tf.float32
    names = [v.name for v in detector.non_trainable_variables]
    assert [n for n in names if "class_thresholds" in n]
    assert not [v for v in detector.trainable_variables if "thresh" in v.name]


def test_thresholds_are_in_the_checkpoint(tmp_path):
    first, second = (model(transform(has_class_thresholds=True)) for _ in range(2))
    first.detection_generator.class_thresholds.assign([0.0, 0.1, 0.2, 0.3])
    detect(first), detect(second)
    path = tf.train.Checkpoint(model=first).write(str(tmp_path / "all"))
    tf.train.Checkpoint(model=second).read(path).assert_existing_objects_matched()
    np.testing.assert_allclose(
        second.detection_generator.class_thresholds, [0, 0.1, 0.2, 0.3]
    )


def test_saved_model(tmp_path):
    detector = model(
        transform(
            residual_objectness=True,
            has_class_thresholds=True,
            generator={"nms_version": "v2"},
        )
    )
    detector.detection_generator.class_thresholds.assign([0.0, 0.3, 0.3, 1.0])

    @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3])])
    def serve(x):
        shape = tf.fill([tf.shape(x)[0], 2], float(SIZE))
        found = detector.call(x, image_shape=shape, training=False)
        return {k: v for k, v in found.items() if "detection" in k}

    module = tf.Module()
    module.model, module.serve = detector, serve
    expected = serve(images())
    tf.saved_model.save(module, str(tmp_path), signatures=serve)
    loaded = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    actual = loaded(images())
    assert found_classes(actual) == {1, 2}
    for key, value in expected.items():
        assert_close(actual[key], value, of=REDUCTION)


def test_messages():
    with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
        ScoreTransform(generator(), 1)
    with pytest.raises(ValueError, match=r"multiple of num_classes 4 .* got 6"):
        transform(residual_objectness=True).transform(tf.zeros([1, 2, 2, 6]))
