"""Losses of two stages: whose a config means, and when Model Garden's are computed."""

import numpy as np
import pytest
import tensorflow as tf
from official.vision.tasks import maskrcnn as tfm_task

from libra_tf.criteria.head_losses import Losses
from libra_tf.criteria.rcnn_terms import (
    rcnn_box_loss,
    rcnn_class_loss,
    sampled_anchor_losses,
)
from libra_tf.experiments import loss_config, task_config
from libra_tf.losses import l1
from libra_tf.tasks.maskrcnn import LibraMaskRCNNTask

STOCK = Losses(classification=2.0, box=3.0)
OUTPUTS = {
    "class_outputs": tf.constant([[[0.5, -1.0], [2.0, 1.0], [0.0, 3.0]]]),
    "class_targets": tf.constant([[0, 1, -1]]),
    "box_outputs": tf.reshape(tf.range(24.0), [1, 3, 8]),
    "box_targets": tf.ones([1, 3, 4]),
}
ANCHORS = {
    "rpn_scores": {"3": tf.constant([[[[0.3, -0.2]]]])},
    "rpn_boxes": {"3": tf.reshape(tf.range(8.0), [1, 1, 1, 8])},
}
ANCHOR_LABELS = {
    "rpn_score_targets": {"3": tf.constant([[[[1, 0]]]])},
    "rpn_box_targets": {"3": tf.ones([1, 1, 1, 8])},
}


@pytest.fixture
def stock(monkeypatch):
    """Puts `STOCK` in place of Model Garden's losses; tells which are computed."""
    calls = []
    for name in ("_build_rpn_losses", "_build_frcnn_losses"):

        def losses(self, outputs, labels, name=name):
            calls.append(name)
            return tuple(STOCK)

        monkeypatch.setattr(tfm_task.MaskRCNNTask, name, losses)
    return calls


def task(normalizer, box="l1", guided=False):
    losses = loss_config.MaskRCNNLosses(
        normalizer=normalizer,
        box=loss_config.BoxLoss(type=box),
        guided=loss_config.GuidedLoss(enabled=guided, factor=5.0, roi_factor=7.0),
        rpn_box_weight=0.5,
        frcnn_box_weight=0.25,
    )
    return LibraMaskRCNNTask(task_config.MaskRCNNTask(losses=losses))


def own(normalizer):
    targets = OUTPUTS["class_targets"]
    box = rcnn_box_loss(
        OUTPUTS["box_outputs"],
        targets,
        OUTPUTS["box_targets"],
        elementwise=l1,
        normalizer=normalizer,
    )
    return Losses(rcnn_class_loss(OUTPUTS["class_outputs"], targets), box)


@pytest.mark.parametrize("normalizer", ["tfm", "reference", "positives"])
@pytest.mark.parametrize("box", ["huber", "l1"])
def test_each_loss_of_the_head_is_the_one_that_its_setting_names(
    normalizer, box, stock
):
    found = task(normalizer, box)._build_frcnn_losses(OUTPUTS, {})
    ours = own(normalizer)
    expected = (STOCK if normalizer == "tfm" else ours).classification
    np.testing.assert_array_equal(found.classification, expected)
    np.testing.assert_array_equal(found.box, (STOCK if box == "huber" else ours).box)
    used = normalizer == "tfm" or box == "huber"
    assert stock == ["_build_frcnn_losses"] * used


@pytest.mark.parametrize("normalizer", ["tfm", "reference", "positives"])
def test_losses_of_the_rpn_are_those_of_the_normaliser(normalizer, stock):
    the_task = task(normalizer)
    found = the_task._build_rpn_losses(ANCHORS, ANCHOR_LABELS)
    expected = STOCK
    if normalizer != "tfm":
        given = (*ANCHORS.values(), *ANCHOR_LABELS.values())
        beta = the_task.task_config.losses.rpn_huber_loss_delta
        expected = sampled_anchor_losses(*given, beta=beta, normalizer=normalizer)
    np.testing.assert_array_equal(found, expected)
    assert stock == ["_build_rpn_losses"] * (normalizer == "tfm")


@pytest.mark.usefixtures("stock")
def test_each_head_has_its_own_guided_factor_and_weight():
    the_task = task("tfm", "huber", guided=True)
    rpn = the_task._build_rpn_losses({}, {})
    head = the_task._build_frcnn_losses({}, {})
    np.testing.assert_allclose(rpn, [5.0 * 0.5 * STOCK.box, STOCK.box])
    np.testing.assert_allclose(head, [7.0 * 0.25 * STOCK.box, STOCK.box])
