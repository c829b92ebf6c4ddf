"""DR loss: the worst positives above the worst negatives, by a margin."""

import math

import tensorflow as tf
import tf_keras

# The released code of Qian et al. (idstcv/DR_loss, `sigmoid_dr_loss.py`).
POSITIVE_TEMPERATURE = 1.0  # lambda+
NEGATIVE_TEMPERATURE = 0.1 / math.log(3.5)  # lambda-
SMOOTHING = 6.0  # L
SCALE = 4.0  # tau
MARGIN = 0.5


def distributional_ranking(
    labels: tf.Tensor,
    logits: tf.Tensor,
    *,
    positive_temperature: float = POSITIVE_TEMPERATURE,
    negative_temperature: float = NEGATIVE_TEMPERATURE,
    smoothing: float = SMOOTHING,
    scale: float = SCALE,
    margin: float = MARGIN,
    detach_weights: bool = False,
    per_image: bool = False,
) -> tf.Tensor:
    """Ranks the expected score of hard positives above that of hard negatives.

    With p = sigmoid(logits) and the softmax over the positives i, the negatives j:

        P+ = sum_i q_i p_i,  q = softmax(-p_i / positive_temperature)
        P- = sum_j q_j p_j,  q = softmax(p_j / negative_temperature)

        loss = scale / smoothing * ln(1 + e^(smoothing * (P- - P+ + margin)))

    P+ is 1 without a positive, P- is 0 without a negative. An image (or a batch) with
    neither gives a small constant without gradient.

    The gradient goes through q too, as in the released code: negatives well below P-
    are pushed up a little. `detach_weights` holds q constant.

    The loss is not divided by the positives. If all scores are equal it does not depend
    on their value, so any initial bias gives scale / smoothing * ln(1 + e^(smoothing *
    margin)).

    Args:
        labels: any shape; 1 positive, 0 negative, -1 (or anything else) left out.
        logits: same shape; before the sigmoid.
        positive_temperature: > 0; smaller looks at the lowest positives only.
        negative_temperature: > 0; smaller looks at the highest negatives only.
        smoothing: > 0; larger is closer to the hinge.
        scale: > 0, slope of the loss where the ranking is wrong.
        margin: finite, by how much P+ has to exceed P-, in units of probability.
        detach_weights: whether q is a constant.
        per_image: False ranks all entries together, as the released code does with what
            it is given (a batch); True ranks within each entry of axis 0 and takes the
            mean, as the paper says ("for each image").

    Returns:
        `float32` scalar; computed in float32 for any input type.

    Raises:
        ValueError: if the shapes differ or an argument is out of its range.

    Reference: Qian et al., "DR Loss: Improving Object Detection by Distributional
    Ranking", CVPR 2020. The released code counts every class but its own as a negative
    of a positive anchor.
    """
    _check_numbers(positive_temperature, negative_temperature, smoothing, scale, margin)
    labels, logits = tf.convert_to_tensor(labels), tf.convert_to_tensor(logits)
    _check_shapes(labels, logits, per_image)
    is_positive = tf.equal(labels, tf.cast(1, labels.dtype))
    is_negative = tf.equal(labels, tf.cast(0, labels.dtype))
    # What is left out may be NaN, whose product with a weight of 0 is NaN.
    ranked = tf.logical_or(is_positive, is_negative)
    p = tf.sigmoid(tf.where(ranked, tf.cast(logits, tf.float32), 0.0))
    axes = tf.range(1, tf.rank(p)) if per_image else None
    positive = _expectation(
        p,
        is_positive,
        -1.0 / positive_temperature,
        otherwise=1.0,
        axes=axes,
        detach_weights=detach_weights,
    )
    negative = _expectation(
        p,
        is_negative,
        1.0 / negative_temperature,
        otherwise=0.0,
        axes=axes,
        detach_weights=detach_weights,
    )
    hinge = tf.nn.softplus(smoothing * (negative - positive + margin)) / smoothing
    # Not the mean: that of a batch without images is NaN.
    count = tf.cast(tf.size(hinge), tf.float32)
    return tf.math.divide_no_nan(scale * tf.reduce_sum(hinge), count)


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class DistributionalRankingLoss(tf_keras.losses.Loss):
    """DR loss of a batch: a scalar.

    See `distributional_ranking`; `y_true` are its labels, `y_pred` its logits. Entries
    are left out by the label -1: a `sample_weight` other than a scalar has no meaning.
    """

    def __init__(
        self,
        positive_temperature: float = POSITIVE_TEMPERATURE,
        negative_temperature: float = NEGATIVE_TEMPERATURE,
        smoothing: float = SMOOTHING,
        scale: float = SCALE,
        margin: float = MARGIN,
        detach_weights: bool = False,
        per_image: bool = False,
        reduction: str = tf_keras.losses.Reduction.AUTO,
        name: str = "distributional_ranking",
    ):
        super().__init__(reduction=reduction, name=name)
        _check_numbers(
            positive_temperature, negative_temperature, smoothing, scale, margin
        )
        self.positive_temperature = positive_temperature
        self.negative_temperature = negative_temperature
        self.smoothing = smoothing
        self.scale = scale
        self.margin = margin
        self.detach_weights = detach_weights
        self.per_image = per_image

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Returns the loss of the batch, a scalar."""
        return distributional_ranking(y_true, y_pred, **self._arguments())

    def get_config(self) -> dict:
        """Returns the arguments by name."""
        return {**super().get_config(), **self._arguments()}

    def _arguments(self) -> dict:
        return {
            "positive_temperature": self.positive_temperature,
            "negative_temperature": self.negative_temperature,
            "smoothing": self.smoothing,
            "scale": self.scale,
            "margin": self.margin,
            "detach_weights": self.detach_weights,
            "per_image": self.per_image,
        }


def _expectation(
    p: tf.Tensor,
    members: tf.Tensor,
    tilt: float,
    *,
    otherwise: float,
    axes: tf.Tensor | None,
    detach_weights: bool,
) -> tf.Tensor:
    """Mean of p over the members, weighted by softmax(tilt * p)."""
    # Not minus infinity, whose difference to itself is NaN where there is no member.
    tilted = tf.where(members, tilt * p, p.dtype.min)
    largest = tf.stop_gradient(tf.reduce_max(tilted, axis=axes, keepdims=True))
    weights = tf.where(members, tf.exp(tilted - largest), 0.0)
    if detach_weights:
        weights = tf.stop_gradient(weights)
    mean = tf.math.divide_no_nan(
        tf.reduce_sum(weights * p, axis=axes), tf.reduce_sum(weights, axis=axes)
    )
    return tf.where(tf.reduce_any(members, axis=axes), mean, otherwise)


def _check_shapes(labels: tf.Tensor, logits: tf.Tensor, per_image: bool) -> None:
    if not labels.shape.is_compatible_with(logits.shape):
        raise ValueError(
            f"labels and logits must have the same shape, got {labels.shape} and "
            f"{logits.shape}"
        )
    if per_image and logits.shape.rank == 0:
        raise ValueError("logits must have the images in axis 0, got a scalar")


def _check_numbers(
    positive_temperature: float,
    negative_temperature: float,
    smoothing: float,
    scale: float,
    margin: float,
) -> None:
    for name, value in (
        ("positive_temperature", positive_temperature),
        ("negative_temperature", negative_temperature),
        ("smoothing", smoothing),
        ("scale", scale),
    ):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be > 0, got {value}")
    if not math.isfinite(margin):
        raise ValueError(f"margin must be finite, got {margin}")
