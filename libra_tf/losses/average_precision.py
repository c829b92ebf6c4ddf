"""AP loss: the area above the precision of a ranking, with a gradient by hand.

Shape shorthand in this module:
    N: scores in the ranking.
    P: positives among them, or rows with room for them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import tensorflow as tf
import tf_keras

from libra_tf.losses.rising_steps import MAX_SCORE, RisingSteps

# The released code of Chen et al. (cccorn/AP-loss, `aploss.py`).
DELTA = 1.0

# Numbers of positives for which there is a graph, besides all scores.
_ROOMS = (512, 2**14, 2**18)

_LEFT_OUT = 2  # any label but 0 and 1, also of an unsigned type


def average_precision(
    labels: tf.Tensor,
    logits: tf.Tensor,
    *,
    delta: float = DELTA,
    interpolated: bool = True,
    jit_compile: bool = True,
) -> tf.Tensor:
    """One minus the average precision of all scores as one ranking.

    With s the logits, P the positives, N the negatives and the step
    H(x) = clip(x / (2 delta) + 1/2, 0, 1), for each positive i:

        rank_i = 1 + sum_{k in P, k != i} H(s_k - s_i)
        false_i = sum_{j in N} H(s_j - s_i)
        error_i = false_i / (rank_i + false_i)            (1 - precision)

        loss = mean_i error_i

    `interpolated` replaces error_i by the smallest error of the positives that score no
    higher: the precision envelope of Pascal VOC.

    The gradient is not the derivative of this value, but the error-driven update: what
    a positive lacks is handed to the negatives above it, by their share of the step.

        dL/ds_i = -error_i / |P|
        dL/ds_j = sum_i error_i * H(s_j - s_i) / false_i / |P|

    It sums to 0 over all scores. The gradient from above multiplies it.

    All entries are one ranking: an order between the images of a batch is demanded too,
    as in the released code. Time grows with N log P, memory with N.

    Args:
        labels: any shape; 1 positive, 0 negative, -1 (or anything else) left out.
        logits: same shape; before the sigmoid.
        delta: > 0, half the width of the step.
        interpolated: whether the precision is interpolated (released code: always).
        jit_compile: in a graph, compile this loss with XLA, also where the rest of the
            graph is not: it takes a quarter of the time on a CPU. Where the number of
            scores is not known, or there is no graph, nothing is compiled.

    Returns:
        `float32` scalar in [0, 1]; computed in float32 for any input type. No positive:
        0, with zero gradient. No negative: 0. An undefined score: NaN.

    Raises:
        ValueError: if the shapes differ or an argument is out of its range.

    The released code walks the positives one by one, which costs N * P steps. Here the
    steps of all positives are one piecewise linear function with 2 P knots: each score
    is looked up once, and sums over the scores between two knots give all the rest.

    References: Chen et al., "Towards Accurate One-Stage Object Detection with AP-Loss",
    CVPR 2019; its journal version, arXiv 2008.07294. The running maximum of the
    released code's precision is the running minimum of the error here, which loses no
    digits near 0.
    """
    _check_delta(delta)
    labels, logits = tf.convert_to_tensor(labels), tf.convert_to_tensor(logits)
    if not labels.shape.is_compatible_with(logits.shape):
        raise ValueError(
            f"labels and logits must have the same shape, got {labels.shape} and "
            f"{logits.shape}"
        )
    labels = tf.reshape(labels, [-1])
    scores = tf.reshape(tf.cast(logits, tf.float32), [-1])
    if not scores.shape[0]:  # there may be none, and nothing can be looked up in none
        labels = tf.pad(labels, [[0, 1]], constant_values=_LEFT_OUT)
        scores = tf.pad(scores, [[0, 1]])

    @tf.custom_gradient
    def rank(scores):
        # Else an eager tape keeps what lies between, for no use.
        scores = tf.stop_gradient(scores)
        compiles = jit_compile and scores.shape[0] and not tf.executing_eagerly()
        ranking = tf.function(_rank, jit_compile=True) if compiles else _rank
        loss, gradient = ranking(labels, scores, delta, interpolated)
        return loss, lambda upstream: upstream * gradient

    return rank(scores)


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class AveragePrecisionLoss(tf_keras.losses.Loss):
    """AP loss of a batch: a scalar.

    See `average_precision`; `y_true` are its labels, `y_pred` its logits. Entries are
    left out by the label -1: a `sample_weight` other than a scalar has no meaning.
    """

    def __init__(
        self,
        delta: float = DELTA,
        interpolated: bool = True,
        jit_compile: bool = True,
        reduction: str = tf_keras.losses.Reduction.AUTO,
        name: str = "average_precision",
    ):
        super().__init__(reduction=reduction, name=name)
        _check_delta(delta)
        self.delta = delta
        self.interpolated = interpolated
        self.jit_compile = jit_compile

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Returns the loss of the batch, a scalar."""
        return average_precision(
            y_true,
            y_pred,
            delta=self.delta,
            interpolated=self.interpolated,
            jit_compile=self.jit_compile,
        )

    def get_config(self) -> dict:
        """Returns the arguments by name."""
        return {
            **super().get_config(),
            "delta": self.delta,
            "interpolated": self.interpolated,
            "jit_compile": self.jit_compile,
        }


def _rank(
    labels: tf.Tensor, scores: tf.Tensor, delta: float, interpolated: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """The loss and its gradient [N]."""
    is_positive = tf.equal(labels, tf.cast(1, labels.dtype))
    is_negative = tf.equal(labels, tf.cast(0, labels.dtype))
    # What is left out may be NaN.
    scores = tf.where(tf.logical_or(is_positive, is_negative), scores, 0.0)
    # Asked for, because the clipping under XLA takes NaN for a number.
    undefined = tf.reduce_any(tf.math.is_nan(scores))
    # Scaled once, so that a step is clip(difference + 1/2). Finite, because the
    # difference of two infinities is NaN.
    scores = tf.clip_by_value(scores / (2.0 * delta), -MAX_SCORE, MAX_SCORE)
    count = tf.reduce_sum(tf.cast(is_positive, tf.int32))

    def rank_within(size: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        positives, thresholds = _ascending(scores, is_positive, count, size)
        steps = RisingSteps(thresholds)
        segments, offsets = steps.place(scores)
        false_positives = steps.sums_over(segments, offsets, is_negative)
        above = steps.sums_over(*steps.place(thresholds), tf.range(size) < count)
        ranks = 1.0 + above - steps.over_itself
        errors = tf.math.divide_no_nan(false_positives, ranks + false_positives)
        if interpolated:
            errors = _running_minimum(errors)
        errors /= tf.cast(tf.maximum(count, 1), tf.float64)
        shares = tf.math.divide_no_nan(errors, false_positives)
        gradient = steps.values_at(segments, offsets, shares)
        gradient = tf.where(is_negative, gradient, 0.0)
        gradient = tf.tensor_scatter_nd_add(
            gradient, positives[:, tf.newaxis], -tf.cast(errors, tf.float32)
        )
        return tf.cast(tf.reduce_sum(errors), tf.float32), gradient

    loss, gradient = _with_room(rank_within, count, scores)
    return tf.where(undefined, math.nan, loss), gradient


def _with_room(
    rank_within: Callable[[int | tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    count: tf.Tensor,
    scores: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Calls with the smallest number of rows that holds the positives.

    Shapes must be known for XLA, and are for every choice; one is made in each step.
    """
    most = scores.shape[0]
    sizes = [size for size in _ROOMS if most is None or size < most]
    branches = [functools.partial(rank_within, size) for size in sizes]
    branches.append(
        functools.partial(rank_within, tf.size(scores) if most is None else most)
    )
    too_small = [tf.cast(count > size, tf.int32) for size in sizes]
    return tf.switch_case(tf.add_n([tf.constant(0), *too_small]), branches)


def _ascending(
    scores: tf.Tensor, is_positive: tf.Tensor, count: tf.Tensor, size: int | tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Places and scores [P] of the positives in ascending order of their scores.

    Rows without one have place 0 and a score above all others, at the end.
    """
    slots = tf.where(is_positive, tf.cumsum(tf.cast(is_positive, tf.int32)) - 1, -1)
    places = tf.math.unsorted_segment_sum(tf.range(tf.size(scores)), slots, size)
    thresholds = tf.where(
        tf.range(size) < count, tf.gather(scores, places), 2.0 * MAX_SCORE
    )
    order = tf.argsort(thresholds)
    return tf.gather(places, order), tf.gather(thresholds, order)


def _running_minimum(x: tf.Tensor) -> tf.Tensor:
    """[P] -> [P], the smallest of each entry and those before it."""
    places = tf.range(tf.size(x))

    def look_back(distance, x):
        before = tf.gather(x, tf.maximum(places - distance, 0))
        return 2 * distance, tf.minimum(x, before)

    _, x = tf.while_loop(
        lambda distance, _: distance < tf.size(x), look_back, (tf.constant(1), x)
    )
    return x


def _check_delta(delta: float) -> None:
    if not 0 < delta < math.inf:
        raise ValueError(f"delta must be > 0, got {delta}")
