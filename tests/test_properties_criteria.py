"""Losses as detectors use them, with every setting: padding unseen, results finite.

Numbers are random from fixed seeds; a few examples run daily, many nightly.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools

import dense_batches
import numpy as np
import pytest
import tensorflow as tf
from property_checks import JUNK, NIGHTLY, assert_finite, assert_same, few_or
from property_rows import NUM_CLASSES, batches, row_specs

from libra_tf.criteria.dense import dense_losses, needed_states
from libra_tf.criteria.head_losses import Losses
from libra_tf.criteria.rcnn import rcnn_losses, rpn_losses
from libra_tf.experiments import loss_config
from libra_tf.experiments.class_loss_config import CLASS_LOSSES
from libra_tf.layers.running_state import RunningState

METHODS = {
    "carl": {"weight": 0.2},
    "guided": {"enabled": True},
    "isr": {"enabled": True},
}
DENSE = {
    **{f"class {x}": {"classification": {"type": x}} for x in CLASS_LOSSES},
    **{
        f"box {x}, {normalizer}": {"box": {"type": x}, "normalizer": normalizer}
        for x, normalizer in zip(
            loss_config.ONE_STAGE_BOX_LOSSES, itertools.cycle(loss_config.NORMALIZERS)
        )
    },
    **{name: {name: setting} for name, setting in METHODS.items()},
    "levels": {"classification": {"type": "ghm_c", "ghm": {"per_level": True}}},
}
# Of each kind of batch: classes [B, A], anchors of the first level.
DENSE_BATCHES = {
    "mixed": (dense_batches.random_classes(2, 9), 4),
    "no positive": ([[-1, -1, dense_batches.IGNORED]], 1),
    "no negative": ([[1, 2, dense_batches.IGNORED]], 2),
    "ignored": ([[dense_batches.IGNORED] * 2] * 2, 1),
    "empty level": ([[1, -1, dense_batches.IGNORED]], 0),
    "no image": (np.zeros([0, 3]), 1),
}


def test_every_method_has_a_setting():
    fields = {x.name for x in dataclasses.fields(loss_config.MethodLosses)}
    assert fields == METHODS.keys()


def with_junk(values, junk, where):
    """{level: [B, 1, width, K]} with junk in rows of the mask [B, A]."""
    parts, start = {}, 0
    for level, value in values.items():
        width = value.shape[2]
        mask = where[:, np.newaxis, start : start + width, np.newaxis]
        parts[level] = tf.where(mask, tf.cast(junk, value.dtype), value)
        start += width
    return parts


def dense_result(settings, kind, junk=0.0, scale=1.0):
    """Losses, gradients and states after it, of a batch with junk where it may be."""
    classes, split = DENSE_BATCHES[kind]
    classes = np.asarray(classes, int)
    outputs, labels = dense_batches.batch(
        classes, instances=np.maximum(classes, 0), split=split, scale=scale
    )
    ignored, other = classes == dense_batches.IGNORED, classes <= 0
    outputs["cls_outputs"] = with_junk(outputs["cls_outputs"], junk, ignored)
    outputs["box_outputs"] = with_junk(outputs["box_outputs"], junk, other)
    labels["box_targets"] = with_junk(labels["box_targets"], junk, other)
    states = {k: RunningState(x) for k, x in needed_states(settings).items()}
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        found = dense_losses(
            outputs,
            labels,
            settings,
            num_classes=dense_batches.NUM_CLASSES,
            states=states,
            training=True,
        )
        total = found.total(1.0)
    gradients = tape.gradient(total, outputs, unconnected_gradients="zero")
    return found, gradients, {name: state.read() for name, state in states.items()}


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize(
    "junks",
    [JUNK[:1], pytest.param(JUNK[:3], marks=NIGHTLY)],
    ids=["NaN", "infinite too"],
)
def test_losses_of_one_stage(name, junks):
    settings = dense_batches.settings(**DENSE[name])
    for kind in DENSE_BATCHES:
        expected = dense_result(settings, kind)
        assert_finite(expected)
        assert all(x >= 0 for x in expected[0])
        for junk in junks:
            assert_same(dense_result(settings, kind, junk), expected)
    assert_finite(dense_result(settings, "mixed", scale=1e30))


TWO_STAGE = {
    **{
        f"box {x}, {normalizer}": {"box": {"type": x}, "normalizer": normalizer}
        for x, normalizer in zip(
            loss_config.ELEMENTWISE_BOX_LOSSES,
            itertools.cycle(loss_config.TWO_STAGE_NORMALIZERS),
        )
    },
    **{name: {name: setting} for name, setting in METHODS.items()},
}
TABLES = {
    loss_config.NORMALIZERS: DENSE,
    loss_config.TWO_STAGE_NORMALIZERS: TWO_STAGE,
}


@pytest.mark.parametrize("normalizers", TABLES)
def test_every_normalizer_has_a_setting(normalizers):
    used = {x["normalizer"] for x in TABLES[normalizers].values() if "normalizer" in x}
    assert used == set(normalizers)


STOCK = Losses(tf.constant(1.0), tf.constant(1.0))


@functools.cache
def two_stage_graph(name):
    """Losses and gradients of a batch with junk where it may be, traced once."""
    settings = loss_config.MaskRCNNLosses()
    settings.override({"normalizer": "reference", "box": {"type": "l1"}})
    settings.override(TWO_STAGE[name])

    @tf.function(input_signature=[row_specs(), tf.TensorSpec([])], autograph=False)
    def run(batch, junk):
        return two_stage_result(settings, batch, junk)

    return run


def two_stage_result(settings, batch, junk):
    """Losses and gradients of the RPN and of the head.

    The rows of the batch are anchors and RoIs. Its classes are from 0, the labels' from
    1; the head has a background.
    """
    valid, positive = batch.valid[..., tf.newaxis], batch.positive[..., tf.newaxis]
    labels = tf.where(batch.positive, batch.classes + 1, batch.kinds)
    logits = tf.concat([batch.objectness, batch.logits], axis=-1)
    own = tf.one_hot(tf.maximum(labels, 0), NUM_CLASSES + 1)[..., tf.newaxis] > 0
    deltas = tf.where(
        own & positive[..., tf.newaxis], batch.boxes[:, :, tf.newaxis], junk
    )
    outputs = {
        "class_outputs": tf.where(valid, logits, junk),
        "box_outputs": tf.reshape(
            deltas, [*tf.unstack(tf.shape(labels)), 4 * (NUM_CLASSES + 1)]
        ),
        "rpn_scores": {"3": tf.where(valid, batch.objectness, junk)},
        "rpn_boxes": {"3": tf.where(positive, batch.boxes, junk)},
    }
    given = {
        "class_targets": labels,
        "box_targets": tf.where(positive, batch.box_targets, junk),
        "class_weights": tf.ones_like(batch.iou),
        "matched_gt_indices": tf.where(batch.positive, batch.instances, -1),
    }
    anchor_labels = {
        "rpn_score_targets": {"3": batch.kinds[..., tf.newaxis]},
        "rpn_box_targets": {"3": given["box_targets"]},
    }

    def one_row(levels):  # [B, A, K] -> [B, 1, A, K]
        return {level: x[:, tf.newaxis] for level, x in levels.items()}

    with tf.GradientTape() as tape:
        tape.watch(outputs)
        rpn = {k: one_row(outputs[k]) for k in ("rpn_scores", "rpn_boxes")}
        anchors = {k: one_row(x) for k, x in anchor_labels.items()}
        found = (
            rpn_losses(rpn, anchors, settings, stock=lambda *_: STOCK),
            rcnn_losses(outputs | given, {}, settings, stock=lambda *_: STOCK),
        )
        total = tf.add_n(tf.nest.flatten(found))
    return found, tape.gradient(total, outputs, unconnected_gradients="zero")


@pytest.mark.parametrize("name", TWO_STAGE)
@few_or(60, few=10)
def test_losses_of_two_stages(name, count):
    run = two_stage_graph(name)
    for number, batch in enumerate(batches(count)):
        expected = run(batch, 0.0)
        assert_finite(expected)
        assert all(x >= 0 for x in tf.nest.flatten(expected[0]))
        for junk in (np.nan, JUNK[1 + number % (len(JUNK) - 1)]):
            assert_same(run(batch, junk), expected)
    for batch in batches(count, extreme=True):
        assert_finite(run(batch, 0.0))
