"""Box losses and their gradients against the error (Libra R-CNN, Figure 5)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from libra_tf.drawing.charts import charts, draw_line, save_chart
from libra_tf.losses import balanced_l1, ghm_r, l1, smooth_l1

# Maps targets and predictions [N] to the loss of each.
Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

_ALPHAS = (0.2, 0.3, 0.5, 1.0)  # of the paper's Table 6 and Figure 5; gamma is 1.5
_RETINANET_BETA = 0.11  # of the published Libra RetinaNet
_LARGEST, _POINTS = 2.0, 401  # error, in units of the encoded coordinate


def box_losses() -> dict[str, Loss]:
    """Returns the losses of a coordinate by the name that a chart shows."""
    return {
        "L1": l1,
        "smooth L1": smooth_l1,
        **{f"balanced L1, alpha {alpha}": _balanced(alpha) for alpha in _ALPHAS},
        f"balanced L1, beta {_RETINANET_BETA}, reference": _published,
        "GHM-R, before it is weighed": _ghm_r,
    }


def plot_box_losses(out: str) -> list[Path]:
    """Draws loss and gradient of each loss against the error of a coordinate.

    Args:
        out: see `charts.save_chart`.

    Returns:
        The files.
    """
    errors = np.linspace(0, _LARGEST, _POINTS, dtype=np.float32)
    with charts(10.5, 4.2, columns=2) as (figure, (values, gradients)):
        for number, (name, loss) in enumerate(box_losses().items()):
            value, gradient = value_and_gradient(loss, errors)
            draw_line(values, number, errors, value, name)
            # At 0 L1 has no gradient; TensorFlow gives one of the possible.
            draw_line(gradients, number, errors[1:], gradient[1:], name)
        unit = "error |d| of an encoded coordinate (no unit)"
        values.set(xlabel=unit, ylabel="loss", xlim=(0, _LARGEST), ylim=(0, 2.5))
        gradients.set(xlabel=unit, ylabel="gradient of the loss by |d|")
        gradients.set(xlim=(0, _LARGEST), ylim=(0, 2.6))
        values.legend()
        return save_chart(figure, out)


def value_and_gradient(loss: Loss, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a loss and its derivative at errors [N], both [N]."""
    predictions = tf.constant(errors)
    with tf.GradientTape() as tape:
        tape.watch(predictions)
        values = loss(tf.zeros_like(predictions), predictions)
    return values.numpy(), tape.gradient(values, predictions).numpy()


def _balanced(alpha: float) -> Loss:
    return lambda y_true, y_pred: balanced_l1(y_true, y_pred, alpha=alpha)


def _published(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    return balanced_l1(y_true, y_pred, beta=_RETINANET_BETA, form="reference")


def _ghm_r(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """With one bin, all errors are equally common and weigh 1."""
    valid = tf.ones_like(y_true, tf.bool)
    return ghm_r(y_true, y_pred, valid, num_bins=1, momentum=0.0).values
