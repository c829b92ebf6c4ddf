"""Which box losses are compared in a run."""

import numpy as np
import pytest
import tensorflow as tf

from libra_tf.criteria.box import elementwise_box_loss
from libra_tf.diagnostics.objective import box_losses
from libra_tf.experiments.loss_config import (
    ELEMENTWISE_BOX_LOSSES,
    BoxLoss,
    MaskRCNNLosses,
    RetinaNetLosses,
)
from libra_tf.losses import balanced_l1, smooth_l1

ERRORS = tf.constant([0.05, 0.2, 1.5])
ZEROS = tf.zeros_like(ERRORS)


def values(found, name):
    return found.losses[name](ZEROS, ERRORS).numpy()


@pytest.mark.parametrize(
    ("settings", "threshold"),
    [
        (MaskRCNNLosses(), 1.0),
        (RetinaNetLosses(), 0.1),
        (RetinaNetLosses(huber_loss_delta=0.3), 0.3),
        (MaskRCNNLosses(frcnn_huber_loss_delta=2.0), 2.0),
    ],
)
def test_huber_is_smooth_l1_with_its_delta_as_threshold(settings, threshold):
    found = box_losses(settings)
    assert found.threshold == threshold
    assert found.own == "smooth_l1"
    np.testing.assert_allclose(
        values(found, "smooth_l1"), smooth_l1(ZEROS, ERRORS, beta=threshold)
    )


@pytest.mark.parametrize("form", ["consistent", "reference"])
def test_balanced_l1_is_the_run_s(form):
    box = BoxLoss(type="balanced_l1", beta=0.11, alpha=0.3, gamma=1.0, form=form)
    found = box_losses(RetinaNetLosses(box=box))
    assert (found.threshold, found.own) == (0.11, "balanced_l1")
    expected = balanced_l1(ZEROS, ERRORS, alpha=0.3, gamma=1.0, beta=0.11, form=form)
    np.testing.assert_allclose(values(found, "balanced_l1"), expected)
    expected = smooth_l1(ZEROS, ERRORS, beta=0.11)
    np.testing.assert_allclose(values(found, "smooth_l1"), expected)


def test_other_losses_of_a_run():
    found = box_losses(MaskRCNNLosses(box=BoxLoss(type="smooth_l1", beta=0.5)))
    assert (found.threshold, found.own) == (0.5, "smooth_l1")
    found = box_losses(MaskRCNNLosses(box=BoxLoss(type="l1")))
    assert found.own == "l1"
    np.testing.assert_allclose(values(found, "l1"), ERRORS)


@pytest.mark.parametrize("kind", ELEMENTWISE_BOX_LOSSES)
def test_every_elementwise_loss_is_measured_as_it_trains(kind):
    box = BoxLoss(type=kind, beta=0.3, alpha=0.4)
    found = box_losses(MaskRCNNLosses(box=box))
    assert found.own == kind
    expected = elementwise_box_loss(box)(ZEROS, ERRORS)
    np.testing.assert_array_equal(values(found, kind), expected)


def test_a_loss_that_is_no_function_of_one_coordinate_is_not_compared():
    found = box_losses(RetinaNetLosses(box=BoxLoss(type="ghm_r", beta=0.11)))
    assert found.own is None
    assert set(found.losses) == {"smooth_l1", "balanced_l1"}
