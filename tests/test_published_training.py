"""The published form in training: its anchors make the labels, its parts learn."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny
from official.core import task_factory
from tolerances import NETWORK, SCORES, assert_close

from libra_tf.errors import UserError
from libra_tf.experiments.saved import override
from libra_tf.models.anchors import anchor_settings, multilevel_anchors
from libra_tf.weights.published_settings import published_model

pytestmark = pytest.mark.usefixtures("built_once", "shallow", "traced_nms")
SIZE = 128
SMALL = {
    "input_size": [SIZE, SIZE, 3],
    "num_classes": 4,
    "backbone": {"torch_resnet": {"base_channels": 4, "norm": "batch"}},
    "decoder": {"torch_fpn": {"num_filters": 16}},
    "frozen_stages": 0,
}
RCNN = {
    "rpn_head": {"num_filters": 16},
    "detection_head": {"fc_dims": 32},
    "roi_generator": {"num_proposals": 60, "test_num_proposals": 60},
    "roi_sampler": {"num_sampled_rois": 32},
}
RETINANET = {"head": {"num_convs": 1, "num_filters": 16}}


def experiment(kind: str, *changes: dict):
    """The experiment of `tiny` in the published form."""
    params = tiny.experiment(f"libra_{kind}_resnetfpn_coco")
    detector = "retinanet" if kind == "retinanet" else "faster_rcnn"
    sizes = RETINANET if kind == "retinanet" else RCNN
    for model in (published_model(detector), SMALL, sizes):
        override(params, {"task": {"model": model}}, "test")
    for change in changes:
        override(params, {"task": change}, "test")
    return params


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return tiny.dataset(tmp_path_factory.mktemp("published"), num_train=8, num_val=4)


def first_batch(params, records, is_training=True):
    tiny.point_to(params, records)
    data = params.task.train_data if is_training else params.task.validation_data
    return tiny.first_batch(task_factory.get_task(params.task), data)


def step(params, batch):
    """Losses and how much the weights moved, by name."""
    task, model = tiny.build(params)
    # Large: the heads' first kernels are so small that little comes through.
    optimizer = tf_keras.optimizers.SGD(10.0)
    before = {v.name: v.numpy() for v in model.trainable_variables}
    # Traced, as in training, takes five times as long.
    logs = task.train_step(batch, model, optimizer)
    moved = {
        v.name: np.abs(v.numpy() - before[v.name]).max()
        for v in model.trainable_variables
    }
    return {k: float(v) for k, v in logs.items()}, moved


FORMS = {
    "fasterrcnn": {
        "libra": {},
        "stock": {
            "model": tiny.SWITCHES_OFF["model"] | tiny.RCNN_SWITCHES_OFF["model"],
            "losses": tiny.SWITCHES_OFF["losses"],
        },
        "hardest": {
            "model": {
                "roi_sampler": {"positives": "hardest", "negatives": "hardest"},
                "neck": {"type": "balanced_path_aggregation"},
                "canvas": {"form": "model_garden"},
            }
        },
        "score_ranked": {
            "model": {
                "roi_sampler": {"positives": "random", "negatives": "score_ranked"}
            },
            "losses": {"isr": {"enabled": True}, "carl": {"weight": 1.0}},
        },
        "all anchors": {
            "model": {
                "rpn_sampler": {"negatives": "all", "neg_pos_ub": 0.0},
                "roi_sampler": {"positives": "all", "negatives": "all"},
            },
            "losses": {"normalizer": "positives", "guided": {"enabled": True}},
        },
        "residual": {"model": {"objectness": {"type": "residual"}}},
        "iou balanced anchors": {
            "model": {"rpn_sampler": {"negatives": "iou_balanced"}}
        },
    },
    "retinanet": {
        "libra": {},
        "stock": {
            "model": {"neck": {"type": "none"}},
            "losses": {"box": {"type": "huber"}, "normalizer": "tfm"},
        },
        "ghm": {
            "losses": {"classification": {"type": "ghm_c"}, "box": {"type": "ghm_r"}}
        },
        "isr": {"losses": {"isr": {"enabled": True}, "carl": {"weight": 1.0}}},
        "average_precision": {
            "losses": {"classification": {"type": "average_precision"}}
        },
        "distributional_ranking": {
            "losses": {"classification": {"type": "distributional_ranking"}}
        },
        "residual": {
            "model": {"objectness": {"type": "residual"}},
            "losses": {"classification": {"type": "residual_objectness"}},
        },
    },
}  # fmt: skip


# The other methods are tested one by one in Model Garden's form (`test_methods`).
MARKS = {"libra": (), "stock": pytest.mark.slow}
CASES = [
    pytest.param(kind, name, marks=MARKS.get(name, pytest.mark.nightly), id=name)
    for kind in FORMS
    for name in FORMS[kind]
]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_step_trains_every_part(kind, name, records):
    params = experiment(kind, FORMS[kind][name])
    losses, moved = step(params, first_batch(params, records))
    assert all(np.isfinite(list(losses.values()))), losses
    still = {k for k, v in moved.items() if not v > 0}
    # The last convolution of the non-local block starts at zero and hides the others:
    # their kernels move by weight decay alone, their biases not at all.
    hidden = re.compile(r"non_local/(theta|phi|g)/bias:0$")
    assert still == {k for k in moved if hidden.search(k)}
    has_block = params.task.model.neck.type != "none"
    assert len(still) == (3 if has_block else 0)


def brute_force(boxes, anchors, lower, upper):
    """Label of each anchor: 1, 0 or -1, and the object it belongs to."""
    labels = np.full(len(anchors), -1)
    top = np.maximum(boxes[:, None, :2], anchors[None, :, :2])
    bottom = np.minimum(boxes[:, None, 2:], anchors[None, :, 2:])
    inner = np.prod(np.maximum(bottom - top, 0), -1)
    area = [np.prod(x[:, 2:] - x[:, :2], -1) for x in (boxes, anchors)]
    iou = inner / (area[0][:, None] + area[1][None] - inner)
    best, owner = iou.max(0), iou.argmax(0)
    labels[best < lower] = 0
    labels[best >= upper] = 1
    for i, anchor in enumerate(iou.argmax(1)):
        labels[anchor], owner[anchor] = 1, i
    return labels, owner


def flat(levels, size):
    return np.concatenate(
        [levels[k][0].numpy().reshape(-1, size) for k in sorted(levels, key=int)]
    )


def encode(boxes, anchors):
    """(dy, dx, dh, dw)."""
    sides = anchors[:, 2:] - anchors[:, :2]
    want = boxes[:, 2:] - boxes[:, :2]
    centre = boxes[:, :2] + want / 2 - anchors[:, :2] - sides / 2
    return np.concatenate([centre / sides, np.log(want / sides)], 1)


def corner_grid(model):
    """Anchors by plain loops: level, row, column, ratio, scale."""
    found = []
    for level in range(model.min_level, model.max_level + 1):
        stride = 2**level
        for y in range(0, SIZE, stride):
            for x in range(0, SIZE, stride):
                for ratio in model.anchor.aspect_ratios:
                    for k in range(model.anchor.num_scales):
                        side = model.anchor.anchor_size * stride
                        side *= 2 ** (k / model.anchor.num_scales)
                        h, w = side / ratio**0.5 / 2, side * ratio**0.5 / 2
                        found.append([y - h, x - w, y + h, x + w])
    return np.array(found)


def test_labels_of_the_rpn_are_those_of_its_anchors(records):
    every = {"parser": {"rpn_batch_size_per_im": 2**24}}
    params = experiment("fasterrcnn", {"train_data": {"global_batch_size": 1, **every}})
    override(params, {"task": {"model": {"rpn_sampler": {"neg_pos_ub": 0.0}}}}, "test")
    _, labels = first_batch(params, records)
    anchors = flat(labels["anchor_boxes"], 4)
    assert_close(anchors, corner_grid(params.task.model), of=NETWORK, scale=1.0)
    classes = labels["gt_classes"][0].numpy()
    boxes = labels["gt_boxes"][0].numpy()[classes > 0]
    assert len(boxes)
    expected, owner = brute_force(boxes, anchors, 0.3, 0.7)
    np.testing.assert_array_equal(flat(labels["rpn_score_targets"], 1)[:, 0], expected)
    positive = expected == 1
    assert_close(
        flat(labels["rpn_box_targets"], 4)[positive],
        encode(boxes[owner[positive]], anchors[positive]),
        of=NETWORK,
        scale=1.0,
    )


@pytest.mark.parametrize("isr", [False, True])
def test_labels_of_retinanet_are_those_of_its_anchors(records, isr):
    params = experiment(
        "retinanet",
        {"train_data": {"global_batch_size": 1, "parser": {"aug_rand_hflip": False}}},
        {"losses": {"isr": {"enabled": isr}}},
    )
    _, labels = first_batch(params, records)
    anchors = flat(labels["anchor_boxes"], 4)
    assert_close(anchors, corner_grid(params.task.model), of=NETWORK, scale=1.0)
    positive = flat(labels["cls_targets"], 1)[:, 0] > 0
    assert positive.any()
    # The targets tell the objects; which are all matched by some anchor.
    targets = flat(labels["box_targets"], 4)[positive]
    sides = anchors[positive, 2:] - anchors[positive, :2]
    centre = anchors[positive, :2] + sides / 2 + targets[:, :2] * sides
    half = np.exp(targets[:, 2:]) * sides / 2
    boxes = np.unique(
        np.round(np.concatenate([centre - half, centre + half], 1), 2), axis=0
    )
    expected, _ = brute_force(boxes, anchors, 0.4, 0.5)
    np.testing.assert_array_equal(positive, expected == 1)
    weights = labels["cls_weights"][0].numpy() > 0
    np.testing.assert_array_equal(weights, expected >= 0)
    assert ("attribute_targets" in labels) == isr


@pytest.mark.parametrize(
    "kind",
    [
        # The slowest graph of all; a run makes it of the same parts in `test_training`.
        pytest.param("fasterrcnn", marks=pytest.mark.nightly),
        pytest.param("retinanet", marks=pytest.mark.slow),
    ],
)
def test_a_traced_step_is_an_eager_one(kind, records):
    params = experiment(kind)
    batch = first_batch(params, records)
    losses = []
    for trace in (tf.function, lambda step: step):
        task, model = tiny.build(params)
        optimizer = tf_keras.optimizers.SGD(0.01)
        logs = trace(task.train_step)(batch, model, optimizer)
        losses.append([float(v) for v in logs.values()])
    assert_close(*losses, of=SCORES)


def test_boxes_are_clipped_to_the_image_not_to_its_padding():
    from libra_tf.inputs.picture import without_padding

    info = tf.constant([[100.0, 200.0], [128.0, 128.0], [0.64, 0.64], [0.0, 0.0]])
    np.testing.assert_array_equal(without_padding(info)[1], [64, 128])
    jittered = tf.constant([[100.0, 200.0], [128.0, 128.0], [0.8, 0.8], [0.0, 30.0]])
    np.testing.assert_array_equal(without_padding(jittered)[1], [80, 128])


@pytest.mark.parametrize("kind", ["fasterrcnn", "retinanet"])
def test_the_labels_anchors_are_the_models(kind, records):
    params = experiment(kind)
    images, labels = first_batch(params, records)
    _, model = tiny.build(params)
    shape = labels["image_info"][:, 1]
    with_labels = model(
        images, image_shape=shape, anchor_boxes=labels["anchor_boxes"], training=False
    )
    alone = model(images, image_shape=shape, training=False)
    for name in ("detection_boxes", "detection_scores"):
        np.testing.assert_array_equal(with_labels[name], alone[name])
    settings = anchor_settings(params.task.model)
    for level, boxes in multilevel_anchors((SIZE, SIZE), **settings).items():
        np.testing.assert_array_equal(labels["anchor_boxes"][level][0], boxes)


def test_training_needs_one_size(records):
    params = experiment("retinanet", {"model": {"input_size": [None, None, 3]}})
    with pytest.raises(UserError, match="training pads all images to one size"):
        first_batch(params, records)
