"""Which box losses to compare in a run, and which of them it was trained with."""

from __future__ import annotations

from typing import NamedTuple

from libra_tf.criteria.box import Elementwise, elementwise_box_loss
from libra_tf.experiments.loss_config import MaskRCNNLosses, RetinaNetLosses

COMPARED = ("smooth_l1", "balanced_l1")


class BoxLosses(NamedTuple):
    """Losses by name, from where on an error is an outlier, and the run's own loss.

    `own` is a key of `losses`, or None for a loss that is not a function of each
    coordinate alone.
    """

    losses: dict[str, Elementwise]
    threshold: float
    own: str | None


def box_losses(settings: MaskRCNNLosses | RetinaNetLosses) -> BoxLosses:
    """Smooth L1 and balanced L1 with the run's settings, and its own loss.

    Args:
        settings: `task.losses` of an experiment.
    """
    box = settings.box
    own: str | None = box.type if box.is_elementwise else None
    threshold = box.beta
    if box.is_stock:
        # Huber is a multiple of smooth L1: the same shares.
        own, threshold = "smooth_l1", settings.huber_delta
    names = dict.fromkeys(filter(None, (*COMPARED, own)))
    losses = {
        name: elementwise_box_loss(box.replace(type=name, beta=threshold))
        for name in names
    }
    return BoxLosses(losses, threshold, own)
