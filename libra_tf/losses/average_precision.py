"""AP loss: the area above the precision of a ranking, with a gradient by hand.

Shape shorthand in this module:
    N: scores in the ranking.
    P: positives among them.
    K: positives of a chunk.
"""

import math

import tensorflow as tf
import tf_keras

# The released code of Chen et al. (cccorn/AP-loss, `aploss.py`).
DELTA = 1.0

MAX_ELEMENTS = 2**24  # 64 MiB for each temporary tensor

# More rows than a mini-batch has positives would be computed in vain.
_MAX_CHUNK = 64

_MAX_SCORE = 1e37  # the difference of two scores has to stay in float32


def average_precision(
    labels: tf.Tensor,
    logits: tf.Tensor,
    *,
    delta: float = DELTA,
    interpolated: bool = True,
    max_elements: int = MAX_ELEMENTS,
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
    as in the released code. Time grows with N * P, memory with `max_elements` and N.

    Args:
        labels: any shape; 1 positive, 0 negative, -1 (or anything else) left out.
        logits: same shape; before the sigmoid.
        delta: > 0, half the width of the step.
        interpolated: whether the precision is interpolated (released code: always).
        max_elements: >= 1, largest number of pairs (i, j) compared at a time; it
            changes time and memory, not the loss.

    Returns:
        `float32` scalar in [0, 1]; computed in float32 for any input type. No positive:
        0, with zero gradient. No negative: 0. An undefined score: NaN.

    Raises:
        ValueError: if the shapes differ or an argument is out of its range.

    References: Chen et al., "Towards Accurate One-Stage Object Detection with AP-Loss",
    CVPR 2019; its journal version, arXiv 2008.07294. The released code walks the
    positives one by one; the running maximum of its precision is the running minimum of
    the error here, which loses no digits near 0.
    """
    _check_numbers(delta, max_elements)
    labels, logits = tf.convert_to_tensor(labels), tf.convert_to_tensor(logits)
    if not labels.shape.is_compatible_with(logits.shape):
        raise ValueError(
            f"labels and logits must have the same shape, got {labels.shape} and "
            f"{logits.shape}"
        )
    labels = tf.reshape(labels, [-1])
    scores = tf.reshape(tf.cast(logits, tf.float32), [-1])
    if scores.shape[0] == 0:
        return tf.reduce_sum(scores)  # nothing to scatter to, which a graph refuses

    @tf.custom_gradient
    def rank(scores):
        # Else an eager tape keeps the steps of every chunk, for no use.
        scores = tf.stop_gradient(scores)
        loss, gradient = _rank(labels, scores, delta, interpolated, max_elements)
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
        max_elements: int = MAX_ELEMENTS,
        reduction: str = tf_keras.losses.Reduction.AUTO,
        name: str = "average_precision",
    ):
        super().__init__(reduction=reduction, name=name)
        _check_numbers(delta, max_elements)
        self.delta = delta
        self.interpolated = interpolated
        self.max_elements = max_elements

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Returns the loss of the batch, a scalar."""
        return average_precision(
            y_true,
            y_pred,
            delta=self.delta,
            interpolated=self.interpolated,
            max_elements=self.max_elements,
        )

    def get_config(self) -> dict:
        """Returns the arguments by name."""
        return {
            **super().get_config(),
            "delta": self.delta,
            "interpolated": self.interpolated,
            "max_elements": self.max_elements,
        }


def _rank(
    labels: tf.Tensor,
    scores: tf.Tensor,
    delta: float,
    interpolated: bool,
    max_elements: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The loss and its gradient [N], by chunks of positives in ascending order."""
    is_positive = tf.equal(labels, tf.cast(1, labels.dtype))
    is_negative = tf.equal(labels, tf.cast(0, labels.dtype))
    # Whatever is left out has to be finite too: rows that fill up a chunk read it.
    scores = tf.where(tf.logical_or(is_positive, is_negative), scores, 0.0)
    # Asked for, because the clipping under XLA takes NaN for a number.
    undefined = tf.reduce_any(tf.math.is_nan(scores))
    # Scaled once, so that a step is clip(difference + 1/2) and that of equals exactly
    # 1/2. Finite, because the difference of two infinities is NaN.
    scores = tf.clip_by_value(scores / (2.0 * delta), -_MAX_SCORE, _MAX_SCORE)
    # Minus infinity is above no score: it takes an entry out of the sum.
    positive_scores = tf.where(is_positive, scores, -math.inf)
    negative_scores = tf.where(is_negative, scores, -math.inf)
    order = tf.argsort(tf.where(is_positive, scores, math.inf))
    num_positives = tf.reduce_sum(tf.cast(is_positive, tf.int32))
    size = scores.shape[0] if scores.shape[0] is not None else tf.size(scores)
    chunk = _chunk_size(size, max_elements)

    def add_chunk(start, lowest_error, gradient):
        rows = start + tf.range(chunk)
        indices = tf.gather(order, tf.minimum(rows, size - 1))
        thresholds = tf.gather(scores, indices)[:, tf.newaxis]
        # 1/2 and the 1/2 of a positive's step over itself make the 1 of its rank.
        ranks = 0.5 + tf.reduce_sum(_step(positive_scores - thresholds), axis=1)
        steps = _step(negative_scores - thresholds)  # [K, N]
        # Not a matrix product, which a GPU may round to ten bits (TF32).
        false_positives = tf.reduce_sum(steps, axis=1)
        errors = false_positives / (ranks + false_positives)
        if interpolated:
            errors = tf.minimum(_running_minimum(errors), lowest_error)
        # The last chunk ends with rows that are no positives.
        errors = tf.where(rows < num_positives, errors, 0.0)
        shares = tf.math.divide_no_nan(errors, false_positives)
        gradient += tf.reduce_sum(shares[:, tf.newaxis] * steps, axis=0)
        gradient = tf.tensor_scatter_nd_add(gradient, indices[:, tf.newaxis], -errors)
        return start + chunk, errors[-1], gradient

    _, _, gradient = tf.while_loop(
        lambda start, *_: start < num_positives,
        add_chunk,
        (tf.constant(0), tf.constant(1.0), tf.zeros_like(scores)),
        # Else the steps of many chunks are in memory at once: they wait for nothing.
        parallel_iterations=1,
    )
    gradient /= tf.cast(tf.maximum(num_positives, 1), tf.float32)
    loss = -tf.reduce_sum(tf.where(is_positive, gradient, 0.0))
    return tf.where(undefined, math.nan, loss), gradient


def _step(x: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(x + 0.5, 0.0, 1.0)


def _running_minimum(x: tf.Tensor) -> tf.Tensor:
    """[K] -> [K], the smallest of each entry and those before it."""
    positions = tf.range(tf.size(x))
    before = positions[tf.newaxis, :] <= positions[:, tf.newaxis]
    return tf.reduce_min(tf.where(before, x[tf.newaxis, :], math.inf), axis=1)


def _chunk_size(size: int | tf.Tensor, max_elements: int) -> int | tf.Tensor:
    """Positives of a chunk: at least one, and no more than are in the ranking."""
    if isinstance(size, int):
        return max(1, min(size, _MAX_CHUNK, max_elements // max(size, 1)))
    fitting = max_elements // tf.maximum(size, 1)
    return tf.maximum(1, tf.minimum(tf.minimum(size, _MAX_CHUNK), fitting))


def _check_numbers(delta: float, max_elements: int) -> None:
    if not 0 < delta < math.inf:
        raise ValueError(f"delta must be > 0, got {delta}")
    if max_elements < 1:
        raise ValueError(f"max_elements must be at least 1, got {max_elements}")
