"""criteria.rcnn: whose losses a config means, and when Model Garden's are computed."""

import numpy as np
import pytest
import tensorflow as tf

from libra_tf.criteria.rcnn import HeadLosses, rcnn_losses, rpn_losses
from libra_tf.criteria.rcnn_terms import (
    rcnn_box_loss,
    rcnn_class_loss,
    sampled_anchor_losses,
)
from libra_tf.experiments import loss_config
from libra_tf.losses import l1

STOCK = HeadLosses(classification=2.0, box=3.0)
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


class Stock:
    """Model Garden's losses, which count how often they are computed."""

    calls = 0

    def __call__(self, outputs, labels):
        self.calls += 1
        return STOCK


def settings(normalizer, box="l1", guided=False):
    return loss_config.MaskRCNNLosses(
        normalizer=normalizer,
        box=loss_config.BoxLoss(type=box),
        guided=loss_config.GuidedLoss(enabled=guided, factor=5.0, roi_factor=7.0),
        rpn_box_weight=0.5,
        frcnn_box_weight=0.25,
    )


def own(normalizer):
    targets = OUTPUTS["class_targets"]
    box = rcnn_box_loss(
        OUTPUTS["box_outputs"],
        targets,
        OUTPUTS["box_targets"],
        elementwise=l1,
        normalizer=normalizer,
    )
    return HeadLosses(rcnn_class_loss(OUTPUTS["class_outputs"], targets), box)


@pytest.mark.parametrize("normalizer", ["tfm", "reference", "positives"])
@pytest.mark.parametrize("box", ["huber", "l1"])
def test_each_loss_of_the_head_is_the_one_that_its_setting_names(normalizer, box):
    stock = Stock()
    found = rcnn_losses(OUTPUTS, {}, settings(normalizer, box), stock)
    ours = own(normalizer)
    expected = (STOCK if normalizer == "tfm" else ours).classification
    np.testing.assert_array_equal(found.classification, expected)
    np.testing.assert_array_equal(found.box, (STOCK if box == "huber" else ours).box)
    assert stock.calls == (normalizer == "tfm" or box == "huber")


@pytest.mark.parametrize("normalizer", ["tfm", "reference", "positives"])
def test_losses_of_the_rpn_are_those_of_the_normaliser(normalizer):
    stock = Stock()
    found = rpn_losses(ANCHORS, ANCHOR_LABELS, settings(normalizer), stock)
    expected = STOCK
    if normalizer != "tfm":
        given = (*ANCHORS.values(), *ANCHOR_LABELS.values())
        beta = settings(normalizer).rpn_huber_loss_delta
        expected = sampled_anchor_losses(*given, beta=beta, normalizer=normalizer)
    np.testing.assert_array_equal(found, expected)
    assert stock.calls == (normalizer == "tfm")


def test_each_head_has_its_own_guided_factor_and_weight():
    config = settings("tfm", "huber", guided=True)
    rpn = rpn_losses({}, {}, config, Stock())
    head = rcnn_losses({}, {}, config, Stock())
    np.testing.assert_allclose(rpn, [5.0 * 0.5 * STOCK.box, STOCK.box])
    np.testing.assert_allclose(head, [7.0 * 0.25 * STOCK.box, STOCK.box])
