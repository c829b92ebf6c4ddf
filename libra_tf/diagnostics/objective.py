"""Which box losses to compare in a run, and which of them it was trained with."""

from __future__ import annotations

import functools
from typing import NamedTuple

from libra_tf.diagnostics.gradients import Elementwise
from libra_tf.experiments.loss_config import MaskRCNNLosses, RetinaNetLosses
from libra_tf.losses import balanced_l1, l1, smooth_l1


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
    huber = box.type == "huber"
    threshold = settings.huber_delta if huber else box.beta
    losses: dict[str, Elementwise] = {
        "smooth_l1": functools.partial(smooth_l1, beta=threshold),
        "balanced_l1": functools.partial(
            balanced_l1,
            alpha=box.alpha,
            gamma=box.gamma,
            beta=threshold,
            form=box.form,
        ),
    }
    if box.type == "l1":
        losses["l1"] = l1
    # Huber is a multiple of smooth L1: the same shares.
    own = "smooth_l1" if huber else box.type
    return BoxLosses(losses, threshold, own if own in losses else None)
