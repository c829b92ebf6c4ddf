"""Nothing is found, proposed or trained as background beyond the picture."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny
from official.core import task_factory
from PIL import Image
from tiny import override

from libra_tf.data.coco import read_coco
from libra_tf.data.convert import convert
from libra_tf.evaluation.batches import rows
from libra_tf.inference.detector import load_detector
from libra_tf.inference.serving import build_module, export_saved_model
from libra_tf.inputs.picture import (
    without_padding,
    without_padding_negatives,
)

WIDE, PANORAMA, TALL = (226, 400), (20, 4000), (400, 226)
SQUARE = (128, 128)
MOST = 40


def experiment(kind, **task):
    params = tiny.experiment(f"libra_{kind}_resnetfpn_coco")
    detections = {"pre_nms_score_threshold": 0.0, "max_num_detections": MOST}
    model = {"input_size": [*SQUARE, 3], "detection_generator": detections}
    override(params, {"task": {"model": model}}, "test")
    override(params, {"task": task}, "test")
    return params


def scatter_boxes(model):
    """Random kernels, so that boxes lie anywhere."""
    rng = np.random.default_rng(3)
    for weight in model.trainable_variables:
        if "kernel" in weight.name:
            weight.assign(rng.normal(0, 0.08, weight.shape))


def picture(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*shape, 3), np.uint8)


def check_boxes(boxes, shape):
    """Boxes [K, 4] have an area and lie in the picture, but for rounding."""
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert boxes.min() >= 0
    assert (boxes <= np.tile(shape, 2) * (1 + 1e-5)).all()


# Faster R-CNN is Mask R-CNN without its last part.
MARKS = {"retinanet": (), "maskrcnn": pytest.mark.slow}
KINDS = [
    pytest.param(kind, marks=MARKS.get(kind, pytest.mark.nightly))
    for kind in tiny.KINDS
]


@pytest.fixture(scope="module", params=KINDS)
def saved_model(request, tmp_path_factory):
    """A detector that was never trained, exported."""
    folder = tmp_path_factory.mktemp(request.param)
    params = experiment(request.param)
    model = build_module(params).model
    scatter_boxes(model)
    step = tf.Variable(0, dtype=tf.int64)
    path = tf.train.Checkpoint(model=model, global_step=step).write(str(folder / "c"))
    keys = {"image_tensor": "serving_default"}
    return load_detector(
        export_saved_model(params, path, str(folder), function_keys=keys)
    )


@pytest.mark.parametrize("shape", [WIDE, PANORAMA, TALL, SQUARE])
def test_a_saved_model_detects_in_the_picture_only(saved_model, shape):
    found = saved_model.detect(picture(shape))
    assert len(found.boxes) == MOST if min(shape) > 100 else len(found.boxes) > 0
    check_boxes(found.boxes, shape)


def test_without_the_setting_boxes_lie_in_the_padding():
    module = build_module(experiment("retinanet", model={"clip_to_image": False}))
    scatter_boxes(module.model)
    outputs = module.serve(tf.constant(picture(WIDE)[np.newaxis]))
    boxes = outputs["detection_boxes"][0] / tf.tile(outputs["image_info"][0, 2], [2])
    assert (boxes[:, 0] >= WIDE[0]).numpy().any()


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """A wide, a tall and a dense picture in both splits."""
    folder = tmp_path_factory.mktemp("pictures")
    sizes, images, objects = (WIDE, TALL, SQUARE), [], []
    for key, (height, width) in enumerate(sizes, start=1):
        Image.fromarray(picture((height, width), key)).save(folder / f"{key}.jpg")
        image = {"id": key, "file_name": f"{key}.jpg"}
        images.append({**image, "height": height, "width": width})
        count = 115 if (height, width) == SQUARE else 2
        for n in range(count):
            box = [5 + n % 12 * 8, 5 + n // 12 * 8, 20, 20]
            entry = {"id": len(objects) + 1, "image_id": key, "category_id": 1}
            objects.append({**entry, "bbox": box, "area": 400, "iscrowd": 0})
    content = {
        "images": images,
        "annotations": objects,
        "categories": [{"id": key, "name": f"class {key}"} for key in (1, 2, 3)],
    }
    path = folder / "all.json"
    path.write_text(json.dumps(content))
    for split in ("train", "val"):
        convert(read_coco(path), folder, folder / "out", split, quiet=True)
    return str(folder / "out")


def test_evaluation_and_training_propose_in_the_picture_only(records):
    params = experiment("fasterrcnn")
    tiny.point_to(params, records)
    params.task.validation_data.global_batch_size = 3
    params.task.train_data.global_batch_size = 3
    task, model = tiny.build(params)
    scatter_boxes(model)
    images, labels = tiny.first_batch(task, params.task.validation_data)
    task.build_metrics(training=False)
    logs = task.validation_step((images, labels), model)
    _, predictions = logs[task.coco_metric.name]
    arrays = {name: np.asarray(value) for name, value in predictions.items()}
    shapes = {1: WIDE, 2: TALL, 3: SQUARE}
    for key, found in rows(arrays, set()):
        assert len(found.boxes) == MOST
        check_boxes(found.boxes, shapes[key])
        assert len(found.proposals) > 0
        check_boxes(found.proposals, shapes[key])

    images, labels = tiny.first_batch(task, params.task.train_data)
    shape = labels["image_info"][:, 1]
    assert set(map(tuple, shape.numpy())) <= {(72, 128), (128, 72), (128, 128)}
    assert (shape.numpy() < 128).any()
    outputs = model(
        images,
        image_shape=shape,
        anchor_boxes=labels["anchor_boxes"],
        gt_boxes=labels["gt_boxes"],
        gt_classes=labels["gt_classes"],
        training=True,
    )
    proposals, _ = model.roi_generator(
        outputs["rpn_boxes"],
        outputs["rpn_scores"],
        labels["anchor_boxes"],
        shape,
        True,
    )
    for boxes, size in zip(proposals.numpy(), shape.numpy(), strict=True):
        check_boxes(boxes, size)
    for level, targets in labels["rpn_score_targets"].items():
        beyond = cells_beyond(shape.numpy(), targets.shape, 2 ** int(level))
        assert not (targets.numpy()[beyond] == 0).any()
    negatives = sum(
        (np.asarray(x) == 0).sum(axis=(1, 2, 3))
        for x in labels["rpn_score_targets"].values()
    )
    positives = sum(
        (np.asarray(x) == 1).sum(axis=(1, 2, 3))
        for x in labels["rpn_score_targets"].values()
    )
    # The RPN's five for each positive: none of them is lost to the padding.
    wanted = np.minimum(256 - positives, 5 * np.maximum(positives, 1))
    np.testing.assert_array_equal(negatives, wanted)


def cells_beyond(sizes, shape, stride):
    """Mask [B, H, W, A] of the cells that begin beyond the picture, by loops."""
    beyond = np.zeros(shape, bool)
    for b, y, x in np.ndindex(*shape[:3]):
        beyond[b, y, x] = y * stride >= sizes[b, 0] or x * stride >= sizes[b, 1]
    return beyond


@pytest.mark.parametrize("data", ["train_data", "validation_data"])
def test_losses_of_retinanet_have_no_negatives_of_the_padding(records, data):
    params = experiment("retinanet")
    tiny.point_to(params, records)
    getattr(params.task, data).global_batch_size = 3
    task = task_factory.get_task(params.task)
    _, labels = tiny.first_batch(task, getattr(params.task, data))
    sizes = labels["image_info"][:, 1].numpy()
    beyond = [
        cells_beyond(sizes, x.shape, 2 ** int(level)).reshape(3, -1)
        for level, x in labels["cls_targets"].items()
    ]
    beyond = np.concatenate(beyond, axis=1)
    weights, positive = labels["cls_weights"].numpy(), labels["box_weights"].numpy() > 0
    assert beyond.any()
    np.testing.assert_array_equal(weights[beyond & ~positive], 0)
    assert (weights[positive] == 1).all()
    assert weights[~beyond].mean() > 0.5


def test_a_positive_anchor_beyond_the_picture_stays():
    targets = tf.constant([[[[0, 1]], [[0, 1]]]])  # one column, rows 0 and 8
    info = tf.constant([[[8.0, 8.0], [8.0, 8.0], [1.0, 1.0], [0.0, 0.0]]])
    labels = {"image_info": info, "rpn_score_targets": {"3": targets}}
    found = without_padding_negatives(labels)["rpn_score_targets"]["3"]
    np.testing.assert_array_equal(found, [[[[0, 1]], [[-1, 1]]]])
    dense = {
        "image_info": info,
        "cls_targets": {"3": targets},
        "cls_weights": tf.ones([1, 4]),
        "box_weights": tf.constant([[0.0, 1.0, 0.0, 1.0]]),
    }
    found = without_padding_negatives(dense)["cls_weights"]
    np.testing.assert_array_equal(found, [[1, 1, 0, 1]])


def test_the_size_of_each_picture_of_a_batch():
    info = np.array(
        [
            [[226, 400], [128, 128], [72 / 226, 128 / 400], [0, 0]],
            [[100, 100], [128, 128], [1.6, 1.6], [10, 50]],
        ],
        np.float32,
    )
    found = without_padding(tf.constant(info)).numpy()
    np.testing.assert_array_equal(found[:, 1], [[72, 128], [128, 110]])
    np.testing.assert_array_equal(without_padding(found), found)


@pytest.mark.parametrize("kind", ["retinanet"])
def test_a_picture_that_fills_the_input_is_detected_in_as_before(kind):
    outputs = []
    for clips in (True, False):
        params = experiment(kind, model={"clip_to_image": clips})
        tf_keras.utils.set_random_seed(1)
        module = build_module(params)
        outputs.append(module.serve(tf.constant(picture(SQUARE)[np.newaxis])))
    ours, stock = outputs
    assert stock["num_detections"][0] == MOST
    for name, value in stock.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)
