"""GHM-C: cross entropy weighed by how crowded the gradient of each entry is."""

import tensorflow as tf
import tf_keras

from libra_tf.losses import gradient_density
from libra_tf.losses.gradient_density import GradientHarmonized, SumReplicas

# The published RetinaNet of the paper's authors (configs "ghm" of mmdetection).
NUM_BINS = 30
MOMENTUM = 0.75
DIVISOR = "non_empty"


def ghm_c(
    y_true: tf.Tensor,
    logits: tf.Tensor,
    valid: tf.Tensor,
    *,
    num_bins: int = NUM_BINS,
    momentum: float = MOMENTUM,
    divisor: str = DIVISOR,
    density: tf.Tensor | None = None,
    sum_replicas: SumReplicas | None = None,
) -> GradientHarmonized:
    """Gradient harmonized classification loss of each entry (anchor and class).

    With g = |sigmoid(logits) - y_true|, R_j the valid entries with g in bin j of M
    even bins on [0, 1], and N all valid entries:

        S_j <- momentum * S_j + (1 - momentum) * R_j    where R_j > 0, from S_j = 0
        beta_i = N / (n * S_bin(i))
        values_i = beta_i * cross_entropy_i,   loss = sum(values) / N

    beta has the updated S and no gradient. S starts at 0 and is not corrected for it,
    as in the released code: without a `density` to go on from, a loss with momentum
    0.75 is 4 times the one with momentum 0.

    The released code calls the loss once for each pyramid level, with one S that each
    call updates, and adds the five losses. For that, call this once for each level and
    hand the `density` of each call to the next. One call with all levels is the single
    distribution that the paper describes.

    Args:
        y_true: 1 for positive, 0 for negative, any shape (also between, for soft
            labels).
        logits: same shape.
        valid: `bool`, or a weight that is valid where > 0, of the same shape or with 1
            in place of a dimension ([B, A, 1] for logits [B, A, C]). What is not valid
            counts nowhere.
        num_bins: M >= 1.
        momentum: in [0, 1).
        divisor: n; "non_empty" is the number of bins with R_j > 0, as in the released
            code: entries that all share a bin then get beta 1 for every M. "all" is M,
            as in the paper.
        density: [M], S before this call; None is zeros.
        sum_replicas: adds a `float32` [M] over all replicas, for instance with
            `tf.distribute.get_replica_context().all_reduce`. R, N and S are then those
            of the whole batch, and the losses of the replicas are to be added. Without
            it each replica has its own, as in the released code.

    Returns:
        `values` (the shape of the logits), `total` (N, at least 1) and `density`, all
        `float32`; computed in float32 for any input type.

    Raises:
        ValueError: if the shapes disagree or an argument is out of its range.

    Reference: Li et al., "Gradient Harmonized Single-stage Detector", AAAI 2019,
    "GHM-C Loss"; released code: mmdetection, `GHMC`.

    Deviations: a NaN logit of a valid entry makes its value NaN and is counted in a
    bin, in the released code only in N. One that is not valid gives 0, there NaN.
    """
    y_true, logits, valid = gradient_density.prepare(y_true, logits, valid, "logits")
    return gradient_density.harmonize(
        tf.nn.sigmoid_cross_entropy_with_logits(labels=y_true, logits=logits),
        tf.abs(tf.sigmoid(logits) - y_true),
        valid,
        num_bins=num_bins,
        momentum=momentum,
        divisor=divisor,
        density=density,
        sum_replicas=sum_replicas,
    )


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class GHMCLoss(gradient_density.GradientHarmonizedLoss):
    """GHM-C of a batch, without momentum; `y_pred` are logits.

    See `ghm_c`, which has momentum, and `GradientHarmonizedLoss` for the arguments.
    """

    def __init__(
        self,
        num_bins: int = NUM_BINS,
        divisor: str = DIVISOR,
        reduction: str = tf_keras.losses.Reduction.SUM,
        name: str = "ghm_c",
    ):
        super().__init__(num_bins, divisor, reduction, name)

    def harmonized(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, valid: tf.Tensor
    ) -> GradientHarmonized:
        """See `ghm_c`."""
        return ghm_c(
            y_true,
            y_pred,
            valid,
            num_bins=self.num_bins,
            momentum=0.0,
            divisor=self.divisor,
        )
