"""With every switch off, our detectors are Model Garden's, to the last bit."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny
from official.core import task_factory
from official.vision import registry_imports  # noqa: F401  (registration)

DETECTIONS = (
    "detection_boxes",
    "detection_classes",
    "detection_masks",
    "detection_scores",
    "num_detections",
)


def stock_and_ours(kind, records):
    """Returns Model Garden's experiment and ours with every switch off."""
    stock = tiny.experiment(f"{kind}_resnetfpn_coco")
    ours = tiny.experiment(f"libra_{kind}_resnetfpn_coco", task=tiny.SWITCHES_OFF)
    if kind != "retinanet":
        ours.override({"task": tiny.RCNN_SWITCHES_OFF})
    # What is no switch of ours: numbers that the paper sets differently.
    ours.override({"task": {"losses": stock.task.losses.as_dict()}})
    ours.override({"task": {"train_data": stock.task.train_data.as_dict()}})
    for params in (stock, ours):
        tiny.point_to(params, records)
        params.override({"task": {"train_data": {"seed": 7, "deterministic": True}}})
    ours.task.seed = 7
    return stock, ours


def run_once(params, batch, trace):
    """Returns weights, then training outputs, losses, detections and gradients."""
    task, model = tiny.build(params)
    images, labels = batch

    def run():
        with tf.GradientTape() as tape:
            outputs = forward(params, model, images, labels)
            losses = task.build_losses(outputs, labels, aux_losses=model.losses)
            total = losses["total_loss"] if isinstance(losses, dict) else losses[0]
        gradients = tape.gradient(total, model.trainable_variables)
        detections = model(
            images, image_shape=labels["image_info"][:, 1, :], training=False
        )
        detections = {k: v for k, v in detections.items() if k in DETECTIONS}
        return outputs, losses, detections, gradients

    weights = model.get_weights()
    tf_keras.utils.set_random_seed(11)
    return weights, (tf.function(run, autograph=False) if trace else run)()


def batch_of(params):
    """Returns one batch. Model Garden's pipeline draws in parallel, so two differ."""
    return tiny.first_batch(task_factory.get_task(params.task), params.task.train_data)


def forward(params, model, images, labels):
    if not hasattr(params.task.model, "roi_sampler"):
        return model(images, training=True)
    arguments = {
        "image_shape": labels["image_info"][:, 1, :],
        "anchor_boxes": labels["anchor_boxes"],
        "gt_boxes": labels["gt_boxes"],
        "gt_classes": labels["gt_classes"],
        "training": True,
    }
    if params.task.model.include_mask:
        arguments["gt_masks"] = labels["gt_masks"]
    return model(images, **arguments)


@pytest.fixture
def as_users_run():
    """Graphs are optimized, which `conftest` leaves out, but for one thing.

    Arithmetic optimization makes one operation of a + b + c, which adds in the order
    of arrival: Model Garden's own sum of losses differs in the last bit in one of 16
    graphs.
    """
    set_options = tf.config.optimizer.set_experimental_options
    set_options({"disable_meta_optimizer": False, "arithmetic_optimization": False})
    yield
    set_options({"disable_meta_optimizer": True, "arithmetic_optimization": True})


# Operation by operation, which costs a fifth of a graph of two stages; RetinaNet also
# as the graph that training makes of it, the others so at night.
@pytest.mark.skipif(
    os.environ["TF_NUM_INTRAOP_THREADS"] != "1",
    reason="several threads add up sums in any order, in Model Garden's own runs too: "
    "leave out TF_NUM_INTRAOP_THREADS",
)
@pytest.mark.parametrize(
    ("kind", "trace"),
    [
        ("fasterrcnn", False),
        ("maskrcnn", False),
        ("retinanet", False),
        ("retinanet", True),
        pytest.param("fasterrcnn", True, marks=pytest.mark.nightly),
        pytest.param("maskrcnn", True, marks=pytest.mark.nightly),
    ],
)
def test_all_off_equals_model_garden_exactly(kind, trace, records, as_users_run):
    stock, ours = stock_and_ours(kind, records)
    batch = batch_of(stock)
    stock_weights, stock_values = run_once(stock, batch, trace)
    our_weights, our_values = run_once(ours, batch, trace)
    assert len(stock_weights) == len(our_weights)
    for a, b in zip(stock_weights, our_weights, strict=True):
        np.testing.assert_array_equal(a, b)
    *stock_exact, stock_gradients = stock_values
    *our_exact, our_gradients = our_values
    tf.nest.assert_same_structure(stock_exact, our_exact)
    for a, b in zip(*map(tf.nest.flatten, (stock_exact, our_exact)), strict=True):
        np.testing.assert_array_equal(a, b)
    # The gradients of a head that the levels share are added up in any order, so a
    # small entry is as uncertain as the large ones that cancel in it. The bias before
    # a BatchNorm has gradient 0 but for rounding.
    for a, b in zip(stock_gradients, our_gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.abs(a).max() + 1e-6)


RPN, HEAD = {"rpn_score_loss", "rpn_box_loss"}, {"frcnn_cls_loss", "frcnn_box_loss"}
DENSE = {"cls_loss", "box_loss"}
# A switch, the losses that it must change and those that it must leave as they are, of
# Faster R-CNN and of RetinaNet.
SWITCHES = {
    "neck": (
        {"model": {"neck": {"type": "balanced_feature_pyramid"}}},
        {"fasterrcnn": (RPN | HEAD, set()), "retinanet": (DENSE, set())},
    ),
    "box": (
        {"losses": {"box": {"type": "balanced_l1"}}},
        {
            "fasterrcnn": ({"frcnn_box_loss"}, RPN | {"frcnn_cls_loss"}),
            "retinanet": ({"box_loss"}, {"cls_loss"}),
        },
    ),
    "normalizer": (
        {"losses": {"normalizer": "reference"}},
        {"fasterrcnn": (RPN, set()), "retinanet": (DENSE, set())},
    ),
    "negatives": (
        {"model": {"roi_sampler": {"negatives": "iou_balanced"}}},
        {"fasterrcnn": ({"frcnn_cls_loss"}, RPN)},
    ),
    "positives": (
        {"model": {"roi_sampler": {"positives": "instance_balanced"}}},
        {"fasterrcnn": ({"frcnn_cls_loss"}, RPN)},
    ),
}


def losses_of(params, batch):
    """Losses by name, of heads that answer to the features: new ones hardly do."""
    task, model = tiny.build(params)
    rng = np.random.default_rng(5)
    for part, head in sorted(model.checkpoint_items.items()):
        for weight in head.trainable_variables if part.endswith("head") else ():
            if "kernel" in weight.name:
                weight.assign(rng.normal(0, 0.3, weight.shape))
    images, labels = batch

    tf_keras.utils.set_random_seed(11)
    outputs = forward(params, model, images, labels)
    found = task.build_losses(outputs, labels, aux_losses=model.losses)
    if not isinstance(found, dict):
        found = dict(zip(("total", "cls_loss", "box_loss"), found, strict=False))
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize("kind", ["fasterrcnn", "retinanet"])
def test_each_switch_changes_its_own_losses_only(kind, records):
    stock, _ = stock_and_ours(kind, records)
    batch = batch_of(stock)
    expected = losses_of(stock, batch)
    for name, (switch, effects) in SWITCHES.items():
        if kind not in effects:
            continue
        _, ours = stock_and_ours(kind, records)
        ours.override({"task": switch})
        losses = losses_of(ours, batch)
        changed, kept = effects[kind]
        # Several threads add up in any order, so what is kept is so but for rounding.
        for loss in changed:
            assert losses[loss] != pytest.approx(expected[loss], rel=1e-3), (name, loss)
        for loss in kept:
            assert losses[loss] == pytest.approx(expected[loss], rel=1e-5), (name, loss)


@pytest.mark.parametrize("kind", ["fasterrcnn", "retinanet"])
def test_a_stock_checkpoint_starts_ours(kind, records, tmp_path):
    stock, ours = stock_and_ours(kind, records)
    ours.override({"task": {"model": {"neck": {"type": "balanced_feature_pyramid"}}}})
    _, model = tiny.build(stock, seed=3)
    path = tf.train.Checkpoint(model=model, **model.checkpoint_items).write(
        str(tmp_path / "stock")
    )
    ours.task.init_checkpoint, ours.task.init_checkpoint_modules = path, "all"
    task, ours_model = tiny.build(ours, seed=4)
    task.initialize(ours_model)
    for part, layer in model.checkpoint_items.items():
        twin = ours_model.checkpoint_items[part]
        heads = zip(tf.nest.flatten(layer), tf.nest.flatten(twin), strict=True)
        for head, twin_head in heads:
            for a, b in zip(head.weights, twin_head.weights, strict=True):
                np.testing.assert_array_equal(a, b)
    assert all("neck" in name for name in task.restore_report.missing)
