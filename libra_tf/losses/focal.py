"""Focal loss: cross entropy with less weight for what is already right."""

import tensorflow as tf
import tf_keras

from libra_tf.losses.row_loss import RowLoss

# Focal loss, section 5.1: the values of the published RetinaNet. (Model Garden's
# RetinaNet takes gamma 1.5.)
ALPHA = 0.25
GAMMA = 2.0

MAX_GAMMA = 100.0
_FAR = 1e30  # gamma times a logit is a float32; 1 - p_t is 0 or 1 long before


def focal(
    y_true: tf.Tensor,
    logits: tf.Tensor,
    *,
    alpha: float = ALPHA,
    gamma: float = GAMMA,
) -> tf.Tensor:
    """Sigmoid focal loss of each element.

    With p = sigmoid(logits) and p_t = p, alpha_t = alpha where y_true is 1, and
    p_t = 1 - p, alpha_t = 1 - alpha elsewhere:

        alpha_t * (1 - p_t)^gamma * -ln(p_t)

    The gradient flows through the factor (1 - p_t)^gamma too. It is finite for every
    finite logit and every gamma.

    Args:
        y_true: 1 for positive, 0 for negative, any shape.
        logits: same shape.
        alpha: in [0, 1], weight of the positives.
        gamma: in [0, 100]; 0 is cross entropy weighted with alpha_t.

    Returns:
        `float32`, the shape of the inputs; computed in float32 for any input type. The
        paper divides the sum by the number of positive anchors; that is the caller's.

    Raises:
        ValueError: if the shapes differ or an argument is out of its range.

    Reference: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation
    5. ("Foreground-Background Imbalance Problem in Deep Object Detectors: A Review",
    arXiv:2006.09238, equation 2, prints the factor as (1 - |y_true - p|)^gamma, which
    is its inverse.)
    """
    _check_numbers(alpha, gamma)
    y_true, logits = tf.convert_to_tensor(y_true), tf.convert_to_tensor(logits)
    if not y_true.shape.is_compatible_with(logits.shape):
        raise ValueError(
            f"y_true and logits must have the same shape, got {y_true.shape} and "
            f"{logits.shape}"
        )
    logits = tf.cast(logits, tf.float32)
    positive = tf.equal(tf.cast(y_true, tf.float32), 1.0)
    wrong = tf.where(positive, -logits, logits)  # 1 - p_t = sigmoid(wrong)
    cross_entropy = tf.nn.softplus(wrong)
    # As a power of sigmoid(wrong) the gradient would have the factor
    # (1 - p_t)^(gamma - 1): for gamma < 1 infinite at p_t = 1, and then NaN.
    bounded = tf.clip_by_value(wrong, -_FAR, _FAR)
    modulator = tf.exp(-gamma * tf.nn.softplus(-bounded))
    return tf.where(positive, alpha, 1.0 - alpha) * modulator * cross_entropy


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class FocalLoss(RowLoss):
    """Focal loss of each box: the sum over its classes.

    See `focal`. `call` sums over the last axis, so `y_true` and `y_pred` (logits)
    [B, A, C] give [B, A], which a `sample_weight` [B, A] weights; a box of weight 0 may
    hold anything.
    """

    def __init__(
        self,
        alpha: float = ALPHA,
        gamma: float = GAMMA,
        reduction: str = tf_keras.losses.Reduction.AUTO,
        name: str = "focal",
    ):
        super().__init__(reduction=reduction, name=name)
        _check_numbers(alpha, gamma)
        self.alpha = alpha
        self.gamma = gamma

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Returns [B, A] of labels and logits [B, A, C]."""
        loss = focal(y_true, y_pred, alpha=self.alpha, gamma=self.gamma)
        return tf.reduce_sum(loss, axis=-1)

    def get_config(self) -> dict:
        """Returns the arguments by name."""
        return {**super().get_config(), "alpha": self.alpha, "gamma": self.gamma}


def _check_numbers(alpha: float, gamma: float) -> None:
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], got {alpha}")
    if not 0 <= gamma <= MAX_GAMMA:
        raise ValueError(f"gamma must be in [0, {MAX_GAMMA}], got {gamma}")
