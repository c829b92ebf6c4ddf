"""Balanced L1 loss: more gradient for accurate boxes, bounded for outliers."""

import math

import tensorflow as tf
import tf_keras

from libra_tf.losses.row_loss import RowLoss
from libra_tf.losses.smooth_l1 import l1

# Libra R-CNN, section 3.3: the values of the published detectors.
ALPHA = 0.5
GAMMA = 1.5
BETA = 1.0

FORMS = ("consistent", "reference")

MAX_EXPONENT = 80.0  # e^(gamma / alpha) has to fit into float32


def balanced_l1(
    y_true: tf.Tensor,
    y_pred: tf.Tensor,
    *,
    alpha: float = ALPHA,
    gamma: float = GAMMA,
    beta: float = BETA,
    form: str = "consistent",
) -> tf.Tensor:
    """Balanced L1 loss of each element.

    With d = |y_pred - y_true| and b = e^(gamma / alpha) - 1:

        d < beta:  alpha / b' * (b' d + 1) * ln(b d / beta + 1) - alpha * d
        else:      gamma * d + c

    `form="consistent"` takes b' = b / beta and c = gamma * beta / b - alpha * beta. Its
    gradient, alpha * ln(b d / beta + 1), grows from 0 and meets gamma at beta.

    `form="reference"` takes b' = b and c = gamma / b - alpha * beta, as the published
    code. For beta = 1 it is the same loss. For other beta its value is continuous, but
    its gradient starts at alpha * (1 / beta - 1) beside 0 and jumps at beta; Libra
    RetinaNet was published with it (beta 0.11).

    Args:
        y_true: targets, any shape.
        y_pred: predictions, same shape.
        alpha: > 0; smaller gives accurate examples more gradient.
        gamma: > 0, gradient of an outlier (d >= beta).
        beta: > 0, where outliers begin, in the unit of the targets.
        form: "consistent" or "reference".

    Returns:
        `float32`, the shape of the inputs; computed in float32 for any input type.

    Raises:
        ValueError: if the shapes differ or an argument is out of its range.

    Reference: Libra R-CNN (CVPR 2019), section 3.3, equations 7 to 9.
    """
    _check_numbers(alpha, gamma, beta, form)
    distance = l1(y_true, y_pred)
    b = math.expm1(gamma / alpha)
    slope = b / beta if form == "consistent" else b
    offset = gamma / slope - alpha * beta
    # Clipped, so that the branch not taken gives neither infinity nor NaN.
    inner = tf.minimum(distance, beta)
    inlier = (
        alpha / slope * (slope * inner + 1.0) * tf.math.log1p(b / beta * inner)
        - alpha * inner
    )
    return tf.where(distance < beta, inlier, gamma * distance + offset)


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class BalancedL1Loss(RowLoss):
    """Balanced L1 loss of each box: the sum over its coordinates.

    See `balanced_l1`. `call` sums over the last axis, so `y_true` and `y_pred`
    [B, A, 4] give [B, A], which a `sample_weight` [B, A] weights; a box of weight 0 may
    hold anything. (The losses of Keras and of keras_cv take the mean over it: a quarter
    of the sum for boxes.)
    """

    def __init__(
        self,
        alpha: float = ALPHA,
        gamma: float = GAMMA,
        beta: float = BETA,
        form: str = "consistent",
        reduction: str = tf_keras.losses.Reduction.AUTO,
        name: str = "balanced_l1",
    ):
        super().__init__(reduction=reduction, name=name)
        _check_numbers(alpha, gamma, beta, form)
        self.alpha = alpha
        self.gamma = gamma
        self.beta = beta
        self.form = form

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Returns [B, A] of boxes [B, A, 4]."""
        loss = balanced_l1(
            y_true,
            y_pred,
            alpha=self.alpha,
            gamma=self.gamma,
            beta=self.beta,
            form=self.form,
        )
        return tf.reduce_sum(loss, axis=-1)

    def get_config(self) -> dict:
        """Returns the arguments by name."""
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "gamma": self.gamma,
            "beta": self.beta,
            "form": self.form,
        }


def _check_numbers(alpha: float, gamma: float, beta: float, form: str) -> None:
    for name, value in (("alpha", alpha), ("gamma", gamma), ("beta", beta)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be > 0, got {value}")
    if gamma / alpha > MAX_EXPONENT:
        raise ValueError(
            f"gamma / alpha must be at most {MAX_EXPONENT}, or e^(gamma / alpha) "
            f"leaves float32, got {gamma} / {alpha}"
        )
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
