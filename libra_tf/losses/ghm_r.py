"""GHM-R: a smooth box loss weighed by how crowded the gradient of each entry is."""

import tensorflow as tf
import tf_keras

from libra_tf.losses import gradient_density
from libra_tf.losses.ghm_c import DIVISOR
from libra_tf.losses.gradient_density import GradientHarmonized, SumReplicas
from libra_tf.losses.smooth_l1 import l1

# The published RetinaNet of the paper's authors (configs "ghm" of mmdetection).
MU = 0.02
NUM_BINS = 10
MOMENTUM = 0.7

MU_RANGE = (1e-15, 1e9)  # its square has to be a float32
_FAR = 1e18  # d**2 overflows float32 above this; there the loss is d - mu


def ghm_r(
    y_true: tf.Tensor,
    y_pred: tf.Tensor,
    valid: tf.Tensor,
    *,
    mu: float = MU,
    num_bins: int = NUM_BINS,
    momentum: float = MOMENTUM,
    divisor: str = DIVISOR,
    density: tf.Tensor | None = None,
    sum_replicas: SumReplicas | None = None,
) -> GradientHarmonized:
    """Gradient harmonized box regression loss of each coordinate.

    With d = |y_pred - y_true|, the authentic smooth L1 loss and its gradient length:

        asl1_i = sqrt(d^2 + mu^2) - mu,    g_i = d / sqrt(d^2 + mu^2)
        values_i = beta_i * asl1_i,        loss = sum(values) / N

    beta, N, the moving `density` and its use level by level are as in `ghm_c`, with
    the bins filled by this g.

    Args:
        y_true: targets, any shape.
        y_pred: predictions, same shape.
        valid: `bool`, or a weight that is valid where > 0, of the same shape or with 1
            in place of a dimension ([B, A, 1] for boxes [B, A, 4]): the coordinates of
            the positive boxes. What is not valid counts nowhere.
        mu: in [1e-15, 1e9], where the loss turns from square to linear, in the unit of
            the targets.
        num_bins: M >= 1.
        momentum: in [0, 1).
        divisor: "non_empty" as in the released code, or "all" as in the paper.
        density: [M], S before this call; None is zeros.
        sum_replicas: adds a `float32` [M] over all replicas; see `ghm_c`.

    Returns:
        `values` (the shape of the inputs), `total` (N, at least 1) and `density`, all
        `float32`; computed in float32 for any input type.

    Raises:
        ValueError: if the shapes disagree or an argument is out of its range.

    Reference: Li et al., "Gradient Harmonized Single-stage Detector", AAAI 2019,
    "GHM-R Loss"; released code: mmdetection, `GHMR`.

    Deviations: N is the number of valid entries; the released code has the sum of
    their weights, the same for weights 0 and 1. Entries that are not valid or NaN as in
    `ghm_c`. A d whose square exceeds float32 has g = 1, in the released code g = 0.
    """
    _check_mu(mu)
    y_true, y_pred, valid = gradient_density.prepare(y_true, y_pred, valid)
    distance = l1(y_true, y_pred)
    near = tf.minimum(distance, _FAR)
    root = tf.sqrt(near * near + mu * mu)
    # sqrt(d^2 + mu^2) - mu without the difference of two numbers that are nearly equal.
    loss = near * near / (root + mu) + (distance - near)
    return gradient_density.harmonize(
        loss,
        near / root,
        valid,
        num_bins=num_bins,
        momentum=momentum,
        divisor=divisor,
        density=density,
        sum_replicas=sum_replicas,
    )


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class GHMRLoss(gradient_density.GradientHarmonizedLoss):
    """GHM-R of a batch, without momentum.

    See `ghm_r`, which has momentum, and `GradientHarmonizedLoss` for the arguments.
    """

    def __init__(
        self,
        mu: float = MU,
        num_bins: int = NUM_BINS,
        divisor: str = DIVISOR,
        reduction: str = tf_keras.losses.Reduction.SUM,
        name: str = "ghm_r",
    ):
        super().__init__(num_bins, divisor, reduction, name)
        _check_mu(mu)
        self.mu = mu

    def harmonized(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, valid: tf.Tensor
    ) -> GradientHarmonized:
        """See `ghm_r`."""
        return ghm_r(
            y_true,
            y_pred,
            valid,
            mu=self.mu,
            num_bins=self.num_bins,
            momentum=0.0,
            divisor=self.divisor,
        )

    def get_config(self) -> dict:
        """Returns the arguments by name."""
        return {**super().get_config(), "mu": self.mu}


def _check_mu(mu: float) -> None:
    low, high = MU_RANGE
    if not low <= mu <= high:
        raise ValueError(f"mu must be in [{low}, {high}], got {mu}")
