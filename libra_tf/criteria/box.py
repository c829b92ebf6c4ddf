"""The box loss that a config names, as an elementwise function."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from libra_tf.experiments import loss_config
from libra_tf.losses import balanced_l1, l1, smooth_l1

# Maps (targets, predictions) to the loss of each element.
Elementwise = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def elementwise_box_loss(config: loss_config.BoxLoss) -> Elementwise:
    """Returns `(y_true, y_pred) -> loss per coordinate`; see `BoxLoss.is_elementwise`.

    Raises:
        ValueError: there is none of this type.
    """
    if config.type == "balanced_l1":
        return lambda y_true, y_pred: balanced_l1(
            y_true,
            y_pred,
            alpha=config.alpha,
            gamma=config.gamma,
            beta=config.beta,
            form=config.form,
        )
    if config.type == "smooth_l1":
        return lambda y_true, y_pred: smooth_l1(y_true, y_pred, beta=config.beta)
    if config.type == "l1":
        return l1
    raise ValueError(f"no elementwise box loss of type {config.type!r}")
