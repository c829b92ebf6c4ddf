"""Gradient harmonizing: weigh each entry against how crowded its gradient is.

What GHM-C and GHM-R share. Symbols in this module:
    N: valid entries, of all replicas where `sum_replicas` is given.
    M: bins of equal width on [0, 1], the range of the gradient length g.
    R_j, S_j: valid entries in bin j, and their moving average.

With S_j <- momentum * S_j + (1 - momentum) * R_j for each bin that is not empty:

    beta_i = N / (n * S_bin(i))    n: number of bins that are not empty, or M

Reference: Li et al., "Gradient Harmonized Single-stage Detector", AAAI 2019, "Unit
Region Approximation" and "Exponential Moving Average".
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
import tf_keras

DIVISORS = ("non_empty", "all")
REDUCTIONS = (tf_keras.losses.Reduction.SUM, tf_keras.losses.Reduction.NONE)

# Partial histograms that neighbouring entries are counted into. With a single one, a
# GPU would serialise millions of atomic additions on a few addresses.
_LANES = 256

SumReplicas = Callable[[tf.Tensor], tf.Tensor]


class GradientHarmonized(NamedTuple):
    """A harmonized loss: `sum(values) / total`, and the state for the next call.

    Attributes:
        values: `float32`, the shape of the inputs; beta_i times the loss of the entry,
            0 where it is not valid.
        total: `float32` scalar, N, at least 1.
        density: `float32` [M], the moving averages S after this call; no gradient.
    """

    values: tf.Tensor
    total: tf.Tensor
    density: tf.Tensor


def prepare(
    y_true: tf.Tensor, y_pred: tf.Tensor, valid: tf.Tensor, name: str = "y_pred"
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Both in float32, 0 where not valid, and `valid` as `bool` of their shape.

    An entry that is not valid gives no gradient then, whatever it holds: masked only
    afterwards, the gradient of a NaN would be NaN.
    """
    y_true, y_pred = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
    valid = tf.convert_to_tensor(valid)
    if not y_true.shape.is_compatible_with(y_pred.shape):
        raise ValueError(
            f"y_true and {name} must have the same shape, got {y_true.shape} and "
            f"{y_pred.shape}"
        )
    if not _spreads_over(valid.shape, y_pred.shape):
        raise ValueError(
            f"valid must have the shape {y_pred.shape} of {name}, or 1 in place of a "
            f"dimension, got {valid.shape}"
        )
    valid = valid if valid.dtype == tf.bool else valid > 0
    valid = tf.broadcast_to(valid, tf.shape(y_pred))
    y_true = tf.where(valid, tf.cast(y_true, tf.float32), 0.0)
    y_pred = tf.where(valid, tf.cast(y_pred, tf.float32), 0.0)
    return y_true, y_pred, valid


def harmonize(
    loss: tf.Tensor,
    gradient_length: tf.Tensor,
    valid: tf.Tensor,
    *,
    num_bins: int,
    momentum: float,
    divisor: str,
    density: tf.Tensor | None,
    sum_replicas: SumReplicas | None,
) -> GradientHarmonized:
    """Weighs each loss by beta; the gradient flows through `loss` only.

    Args:
        loss: `float32`, any shape, finite where not valid.
        gradient_length: g, same shape, in [0, 1].
        valid: `bool`, same shape.
        num_bins: M >= 1.
        momentum: in [0, 1).
        divisor: "non_empty" or "all".
        density: [M], S before this call; None is zeros.
        sum_replicas: adds a float32 [M] over replicas.

    Returns:
        A `GradientHarmonized`.

    Raises:
        ValueError: if an argument is out of its range.
    """
    check_numbers(num_bins, momentum, divisor)
    density = _as_density(density, num_bins)
    bins = bin_index(tf.stop_gradient(gradient_length), num_bins)
    counts = tf.cast(count(bins, valid, num_bins), tf.float32)
    if sum_replicas is not None:
        counts = tf.ensure_shape(sum_replicas(counts), [num_bins])
    filled = counts > 0
    average = momentum * density + (1.0 - momentum) * counts
    density = tf.stop_gradient(tf.where(filled, average, density))
    total = tf.maximum(tf.reduce_sum(counts), 1.0)
    parts = tf.reduce_sum(tf.cast(filled, tf.float32))
    parts = parts if divisor == "non_empty" else float(num_bins)
    beta = tf.stop_gradient(tf.math.divide_no_nan(total, parts * density))
    values = tf.where(valid, tf.gather(beta, bins) * loss, 0.0)
    return GradientHarmonized(values, tf.stop_gradient(total), density)


def bin_index(gradient_length: tf.Tensor, num_bins: int) -> tf.Tensor:
    """Bin of each length as int32: floor(g * M), and M - 1 for g >= 1.

    The released code compares with the float32 edges j / M, the last one raised so that
    g = 1 is in the last bin. For M = 10 and M = 30, the published ones, both agree for
    every float32 g. For others (11, 12, 19, 20, ...) the rounded product moves a g that
    is an edge, or one unit in the last place below it, to the other side of it.
    """
    scaled = tf.cast(gradient_length * float(num_bins), tf.int32)  # g >= 0: floor
    return tf.clip_by_value(scaled, 0, num_bins - 1)


def count(bins: tf.Tensor, valid: tf.Tensor, num_bins: int) -> tf.Tensor:
    """Number of valid entries in each bin, int32 [M] (float32 stops at 2^24).

    One pass, memory of the order of `bins`. A one-hot sum or `tf.math.bincount` would
    hold M numbers for each entry under XLA.
    """
    bins, valid = tf.reshape(bins, [-1]), tf.reshape(valid, [-1])
    lanes = tf.range(tf.size(bins)) % _LANES
    partial = tf.math.unsorted_segment_sum(
        tf.cast(valid, tf.int32), bins * _LANES + lanes, num_bins * _LANES
    )
    return tf.reduce_sum(tf.reshape(partial, [num_bins, _LANES]), axis=1)


def check_numbers(num_bins: int, momentum: float, divisor: str) -> None:
    """Raises ValueError for what `harmonize` cannot take."""
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}")
    if divisor not in DIVISORS:
        raise ValueError(
            f"divisor must be one of {', '.join(DIVISORS)}, got {divisor!r}"
        )


class GradientHarmonizedLoss(tf_keras.losses.Loss):
    """What the Keras twins share: `sum(values) / total`, without momentum.

    `sample_weight` tells which entries are valid (those where it is > 0): it decides
    who is counted and is no factor. With fewer axes than `y_pred`, say [B, A] for
    [B, A, C], it goes for all entries of a box.

    Momentum needs a state, which a Keras loss has not: call the function, keep its
    `density` and hand it to the next call.

    Args:
        num_bins: M >= 1.
        divisor: "non_empty" or "all".
        reduction: "sum" for the loss, or "none" for its parts summed over the last
            axis: [B, A] for [B, A, C].
    """

    def __init__(self, num_bins: int, divisor: str, reduction: str, name: str):
        super().__init__(reduction=reduction, name=name)
        if reduction not in REDUCTIONS:  # a mean would divide a second time
            raise ValueError(
                f"reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}"
            )
        check_numbers(num_bins, 0.0, divisor)
        self.num_bins = num_bins
        self.divisor = divisor

    def __call__(
        self,
        y_true: tf.Tensor,
        y_pred: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Returns the loss, or its parts for the reduction "none"."""
        parts = self.call(y_true, y_pred, sample_weight)
        return parts if self.reduction == "none" else tf.reduce_sum(parts)

    def call(
        self,
        y_true: tf.Tensor,
        y_pred: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Returns the parts of the loss, summed over the last axis."""
        y_pred = tf.convert_to_tensor(y_pred)
        valid = tf.convert_to_tensor(1.0 if sample_weight is None else sample_weight)
        for _ in range(y_pred.shape.rank - valid.shape.rank):
            valid = valid[..., tf.newaxis]
        values, total, _ = self.harmonized(y_true, y_pred, valid)
        return tf.reduce_sum(values, axis=-1) / total

    def harmonized(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, valid: tf.Tensor
    ) -> GradientHarmonized:
        """The function of which the class is the twin."""
        raise NotImplementedError

    def get_config(self) -> dict:
        """Returns the arguments by name."""
        return {
            **super().get_config(),
            "num_bins": self.num_bins,
            "divisor": self.divisor,
        }


def _spreads_over(shape: tf.TensorShape, target: tf.TensorShape) -> bool:
    """Whether `shape` has the rank of `target`, and its sizes or 1, as far as known."""
    if shape.rank is None or target.rank is None:
        return True
    if shape.rank != target.rank:
        return False
    pairs = zip(shape, target, strict=True)
    return all(a in (1, None) or b in (a, None) for a, b in pairs)


def _as_density(density: tf.Tensor | None, num_bins: int) -> tf.Tensor:
    if density is None:
        return tf.zeros([num_bins])
    density = tf.cast(density, tf.float32)
    if not density.shape.is_compatible_with([num_bins]):
        raise ValueError(
            f"density must have shape [{num_bins}], one number for each bin, got "
            f"{density.shape}"
        )
    return density
