"""models.heads: what is swapped, what stays, and that a seed means the same start."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny
from official.vision.modeling import factory
from official.vision.modeling.heads import dense_prediction_heads, instance_heads
from tolerances import NETWORK, REDUCTION, assert_close

from libra_tf.layers.objectness import ResidualObjectness
from libra_tf.models.heads import (
    ResidualObjectnessDetectionHead,
    ResidualObjectnessRetinaNetHead,
    create_roi_heads,
    roi_shape,
    use_residual_objectness,
)
from libra_tf.models.maskrcnn import build_maskrcnn
from libra_tf.models.neck import checkpoint_parts
from libra_tf.models.retinanet import build_retinanet

CLASSES = 4
LEVELS = {"3": tf.TensorShape([None, 8, 8, 6]), "4": tf.TensorShape([None, 4, 4, 6])}
ROIS = tf.TensorShape([None, 5, 3, 3, 6])
RETINANET = {
    "min_level": 3,
    "max_level": 4,
    "num_classes": CLASSES,
    "num_anchors_per_location": 2,
    "num_convs": 1,
    "num_filters": 6,
}
DETECTION = {"num_classes": CLASSES, "num_fcs": 1, "fc_dims": 7}


def retinanet_head(**kwargs):
    return dense_prediction_heads.RetinaNetHead(**{**RETINANET, **kwargs})


def detection_head(**kwargs):
    return instance_heads.DetectionHead(**{**DETECTION, **kwargs})


def levels(batch=2):
    rng = np.random.default_rng(0)
    return {
        level: tf.constant(rng.normal(size=(batch, *shape[1:])), tf.float32)
        for level, shape in LEVELS.items()
    }


def rois(batch=2):
    rng = np.random.default_rng(0)
    return tf.constant(rng.normal(size=(batch, *ROIS[1:])), tf.float32)


CASES = {
    "retinanet": (retinanet_head, LEVELS, levels),
    "detection": (detection_head, ROIS, rois),
}


def swapped(case, seed=1, **kwargs):
    """Model Garden's head, ours, and an input."""
    make, shape, inputs = CASES[case]
    head = make(**kwargs)
    return head, use_residual_objectness(head, shape, seed=seed), inputs()


def classifiers(head):
    return [x for x in head.submodules if isinstance(x, ResidualObjectness)]


def test_retinanet_head_swaps_the_classifier_alone():
    head, ours, x = swapped("retinanet")
    assert type(ours) is ResidualObjectnessRetinaNetHead
    scores, boxes, attributes = ours(x)
    stock_scores, stock_boxes, _ = head(x)
    assert attributes == {}
    (classifier,) = classifiers(ours)
    for level in LEVELS:
        assert scores[level].shape == stock_scores[level].shape
        np.testing.assert_array_equal(boxes[level], stock_boxes[level])
        # What the classifier sees is the output of the class tower.
        tower = ours._apply_prediction_tower(
            x[level], ours._cls_convs, ours._cls_norms[int(level) - 3]
        )
        np.testing.assert_array_equal(scores[level], classifier(tower))
        per_anchor = tf.reshape(scores[level], [-1, CLASSES])
        np.testing.assert_allclose(per_anchor[:, 0], -2 * np.log(999), atol=0.2)
        np.testing.assert_allclose(per_anchor[:, 1:], -np.log(2), atol=0.2)


def test_detection_head_gives_log_probabilities():
    head, ours, x = swapped("detection")
    assert type(ours) is ResidualObjectnessDetectionHead
    logits, boxes = ours(x)
    np.testing.assert_array_equal(boxes, head(x)[1])
    assert logits.shape == head(x)[0].shape == (2, 5, CLASSES)
    # Model Garden's softmax changes nothing.
    assert_close(tf.exp(logits), tf.nn.softmax(logits), of=REDUCTION)
    start = np.full(logits.shape, 0.25 / (CLASSES - 1))
    start[..., 0] = 0.75
    np.testing.assert_allclose(tf.nn.softmax(logits), start, atol=0.03)


def test_cross_entropy_of_the_detection_head():
    """BCE of the objectness, plus for objects the cross entropy of the class."""
    _, ours, x = swapped("detection")
    (classifier,) = classifiers(ours)
    rng = np.random.default_rng(2)
    classifier.set_weights([rng.normal(size=w.shape) for w in classifier.get_weights()])
    raw = []
    classifier_call = classifier.call
    classifier.call = lambda x: raw.append(classifier_call(x)) or raw[-1]
    labels = tf.constant([[0, 1, 2, 3, 0], [3, 0, 0, 1, 2]])
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, ours(x)[0])
    raw = raw[0].numpy().astype(np.float64)
    is_object = labels.numpy() > 0
    p = 1 / (1 + np.exp(-raw[..., 0]))
    classes = raw[..., 1:] - np.log(np.exp(raw[..., 1:]).sum(-1, keepdims=True))
    chosen = np.take_along_axis(classes, np.maximum(labels - 1, 0)[..., None], -1)
    expected = np.where(is_object, -np.log(p) - chosen[..., 0], -np.log(1 - p))
    assert_close(loss, expected, of=NETWORK)


@pytest.mark.parametrize("case", CASES)
def test_no_layer_is_left_over(case):
    head, ours, x = swapped(case)
    ours(x)
    (classifier,) = classifiers(ours)
    stock = {id(w) for w in head.weights} - {id(w) for w in head._classifier.weights}
    assert {id(w) for w in ours.weights} == stock | {id(w) for w in classifier.weights}
    with tf.GradientTape() as tape:
        total = sum(
            tf.reduce_sum(y**2) for y in tf.nest.flatten(ours(x, training=True))
        )
    gradients = tape.gradient(total, ours.trainable_variables)
    assert all(gradient is not None for gradient in gradients)


@pytest.mark.parametrize("case", CASES)
def test_weights_of_model_garden_are_the_same_with_a_seed(case):
    make, shape, _ = CASES[case]

    def weights(swap):
        tf_keras.utils.set_random_seed(7)
        head = make()
        head = use_residual_objectness(head, shape) if swap else head
        head(create_inputs(shape))
        return {
            layer.name: layer.get_weights()
            for layer in head.submodules
            if layer.weights and not isinstance(layer, ResidualObjectness)
        }

    stock, ours = weights(False), weights(True)
    common = set(stock) & set(ours)
    assert set(stock) - common <= {"scores", "detection-scores"}
    assert len(common) >= 3
    for name in common:
        for a, b in zip(stock[name], ours[name], strict=True):
            np.testing.assert_array_equal(a, b)


def create_inputs(shape):
    if isinstance(shape, dict):
        return {level: tf_keras.Input(s[1:]) for level, s in shape.items()}
    return tf_keras.Input(shape[1:])


@pytest.mark.parametrize("anchors", [2, {"3": 2, "4": 3}])
def test_levels_that_share_nothing(anchors):
    _, ours, x = swapped(
        "retinanet", share_level_convs=False, num_anchors_per_location=anchors
    )
    scores, _, _ = ours(x)
    first, second = ours._classifier
    anchors = anchors if isinstance(anchors, dict) else {"3": anchors, "4": anchors}
    for level, classifier in (("3", first), ("4", second)):
        assert classifier.num_anchors == anchors[level]
        assert scores[level].shape[-1] == anchors[level] * CLASSES
    assert np.any(first.first.kernel.numpy() != second.first.kernel.numpy())
    assert len(classifiers(ours)) == 2


def test_attribute_heads_stay():
    attributes = [
        {
            "name": "depth",
            "type": "regression",
            "size": 1,
            "prediction_tower_name": "",
            "num_convs": 1,
            "num_filters": 6,
        },
        {
            "name": "kind",
            "type": "classification",
            "size": 2,
            "prediction_tower_name": "",
            "num_convs": 1,
            "num_filters": 6,
        },
    ]
    head, ours, x = swapped(
        "retinanet", attribute_heads=attributes, share_classification_heads=True
    )
    expected = head(x)[2]
    for actual, stock in zip(
        tf.nest.flatten(ours(x)[2]), tf.nest.flatten(expected), strict=True
    ):
        np.testing.assert_array_equal(actual, stock)


@pytest.mark.parametrize("case", CASES)
def test_comes_back_from_its_config(case):
    regularizer = tf_keras.regularizers.L2(0.1)
    _, ours, x = swapped(case, kernel_regularizer=regularizer)
    restored = type(ours).from_config(ours.get_config())
    assert restored.get_config() == ours.get_config()
    restored(x)
    (classifier,), (twin,) = classifiers(ours), classifiers(restored)
    for a, b in zip(classifier.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(restored.losses) == len(ours.losses) > 5


@pytest.mark.parametrize("case", CASES)
def test_checkpoint(case, tmp_path):
    _, first, x = swapped(case, seed=1)
    _, second, _ = swapped(case, seed=2)
    path = tf.train.Checkpoint(head=first).write(str(tmp_path / "head"))
    status = tf.train.Checkpoint(head=second).read(path)
    status.assert_existing_objects_matched().assert_consumed()
    for a, b in zip(*map(tf.nest.flatten, (first(x), second(x))), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla(case, jit_compile):
    _, ours, x = swapped(case)
    compiled = tf.function(ours, jit_compile=jit_compile)
    for a, b in zip(*map(tf.nest.flatten, (ours(x), compiled(x))), strict=True):
        assert_close(a, b, of=NETWORK)


@pytest.mark.parametrize("case", CASES)
def test_mixed_precision(case):
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        _, ours, x = swapped(case)
        classes, boxes = tf.nest.map_structure(lambda y: y.dtype, ours(x)[:2])
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    assert set(tf.nest.flatten(boxes)) == {tf.bfloat16}
    expected = tf.float32 if case == "detection" else tf.bfloat16
    assert set(tf.nest.flatten(classes)) == {expected}
    assert {w.dtype for w in ours.weights} == {tf.float32}


def test_messages():
    with pytest.raises(ValueError, match="use_separable_conv must be False"):
        swapped("retinanet", use_separable_conv=True)
    with pytest.raises(ValueError, match="RetinaNetHead or DetectionHead, got Dense"):
        use_residual_objectness(tf_keras.layers.Dense(3), ROIS)
    _, ours, _ = swapped("detection")
    with pytest.raises(ValueError, match="got ResidualObjectnessDetectionHead"):
        use_residual_objectness(ours, ROIS)


ROWS = {
    "stock": {},
    "neck": {"neck": {"type": "balanced_feature_pyramid"}},
    "chain": {"neck": {"type": "balanced_path_aggregation"}},
    "objectness": {"objectness": {"type": "residual"}},
    "both": {
        "neck": {"type": "path_aggregation"},
        "objectness": {"type": "residual"},
    },
}
SPECS = tf_keras.layers.InputSpec(shape=[None, tiny.SIZE, tiny.SIZE, 3])


def config_of(kind, row):
    params = tiny.experiment(
        f"libra_{kind}_resnetfpn_coco", task={"model": {"neck": {"type": "none"}}}
    )
    params.override({"task": {"model": ROWS[row]}})
    return params.task.model


def model_of(kind, row, seed=None, stock=False):
    config = config_of(kind, row)
    builders = (factory.build_maskrcnn, build_maskrcnn)
    if kind == "retinanet":
        builders = (factory.build_retinanet, build_retinanet)
    tf_keras.utils.set_random_seed(3)
    if stock:
        model = builders[0](SPECS, config)
    else:
        model = builders[1](SPECS, config, seed=seed)
    if stock and kind != "retinanet":
        call(model)  # creates the heads of the second stage
    return model


def call(model):
    images = tf_keras.Input([tiny.SIZE, tiny.SIZE, 3])
    return model(images, image_shape=tf_keras.Input([2]), training=False)


def weights_of(model):
    """Weights by part and layer, without the neck and the classifiers."""
    found = {}
    parts = checkpoint_parts(model.checkpoint_items)
    parts.pop("neck", None)
    for part, tops in parts.items():
        for number, top in enumerate(tf.nest.flatten(tops)):
            layers = list(top._flatten_layers(recursive=False, include_self=False))
            classifier = getattr(top, "_classifier", None)
            for i, layer in enumerate(layers):
                # Layers of a backbone are numbered on from one model to the next.
                name = layer.name if classifier else i
                if layer is not classifier:
                    found[part, number, name] = layer.get_weights()
    return found


@pytest.mark.parametrize("kind", ["maskrcnn", "retinanet"])
def test_rows_of_an_ablation_start_alike(kind):
    """All that Model Garden creates is the same in each row, whatever is added."""
    stock = weights_of(model_of(kind, "stock", stock=True))
    assert len(stock) > 10
    # None draws from the global stream: that must not matter either.
    for row, seed in (("neck", None), ("chain", 5), ("both", None)):
        ours = weights_of(model_of(kind, row, seed))
        assert set(ours) == set(stock), row
        for key, arrays in stock.items():
            for a, b in zip(arrays, ours[key], strict=True):
                np.testing.assert_array_equal(a, b, err_msg=f"{row} {key}")


def test_our_parts_start_alike_too():
    both, alone = (model_of("retinanet", row, seed=5) for row in ("both", "objectness"))
    a, b = (classifiers(model.head)[0].get_weights() for model in (both, alone))
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def test_heads_are_created_in_model_gardens_order():
    config = config_of("maskrcnn", "stock")
    model = factory.build_maskrcnn(SPECS, config)
    assert not model.detection_head[0].weights
    create_roi_heads(model)
    assert model.detection_head[0].weights
    assert model.mask_head.weights
    size = config.roi_aligner.crop_size
    assert roi_shape(model, model.roi_aligner).as_list() == [None, 1, size, size, 16]


def test_cascade_heads_are_created():
    config = config_of("fasterrcnn", "stock")
    sampler = dataclasses.asdict(config.roi_sampler)
    config.override({"roi_sampler": {**sampler, "cascade_iou_thresholds": [0.6]}})
    config.override({"detection_head": {"class_agnostic_bbox_pred": True}})
    model = factory.build_maskrcnn(SPECS, config)
    create_roi_heads(model)
    assert all(head.weights for head in model.detection_head)
    assert len(model.detection_head) == 2


@pytest.mark.parametrize("case", CASES)
def test_saved_model(case, tmp_path):
    _, ours, x = swapped(case)
    spec = tf.nest.map_structure(lambda y: tf.TensorSpec(y.shape), x)

    @tf.function(input_signature=[spec])
    def serve(inputs):
        return {str(i): y for i, y in enumerate(tf.nest.flatten(ours(inputs)))}

    module = tf.Module()
    module.head, module.serve = ours, serve
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    actual = loaded.serve(x)
    for key, value in serve(x).items():
        assert_close(actual[key], value, of=NETWORK)
