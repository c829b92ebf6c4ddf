"""Classification-aware regression loss (CARL): a box loss that teaches the score."""

import tensorflow as tf

from libra_tf.ops.rescale import check_power

# PISA as published (mmdetection, configs/pisa).
K = 1.0
BIAS = 0.2

_SMALLEST = 1e-7  # of bias + (1 - bias) p, so that its logarithm is finite


def carl(
    class_probability: tf.Tensor,
    box_losses: tf.Tensor,
    positive: tf.Tensor,
    *,
    k: float = K,
    bias: float = BIAS,
) -> tf.Tensor:
    """Box loss of each positive, weighted by the probability of its class.

    For the n positives of the batch, with p_i the probability of the true class:

        v_i = (bias + (1 - bias) p_i)^k
        CARL_i = c_i L_i,  c_i = n v_i / sum_j v_j

    The gradient flows into the box loss and, through all of c_i, into the probability:

        dCARL/dv_i = n / sum_j v_j * (L_i - sum_j v_j L_j / sum_j v_j)

    so the score of a positive falls if its box is worse than the (weighted) mean and
    rises if it is better. Only differences count: one positive alone has c = 1 and
    gives its score no gradient. Where bias is 0, a p below 1e-7 counts as 1e-7 and gets
    no gradient (it would be infinite for k < 1 and p = 0).

    Args:
        class_probability: [N], softmax or sigmoid probability of the class of the
            matched ground truth, in [0, 1], not detached. N runs over all images of
            the batch.
        box_losses: [N], >= 0, the box loss of each example, summed over its
            coordinates.
        positive: `bool` [N]. Nothing else is looked at where it is false.
        k: >= 0; 0 gives the box loss itself.
        bias: in [0, 1], share of the weight that the probability does not touch.

    Returns:
        `float32` [N], c_i L_i, 0 where not positive. Divide the sum by the normaliser
        of the box loss.

    Raises:
        ValueError: if the shapes are not all [N], or `k` or `bias` is out of its range.

    Reference: Cao et al., "Prime Sample Attention in Object Detection", CVPR 2020. As
    in the released code nothing is detached, neither the normaliser of c nor the box
    loss.
    """
    check_power(k, bias)
    probability = tf.cast(class_probability, tf.float32)
    box_losses = tf.cast(box_losses, tf.float32)
    positive = tf.convert_to_tensor(positive)
    shapes = [x.shape for x in (probability, box_losses, positive)]
    if any(x.rank != 1 or not x.is_compatible_with(shapes[0]) for x in shapes):
        raise ValueError(
            "class_probability, box_losses and positive must have the same shape [N], "
            f"got {shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
    # Masked before, not only after: 0 times the gradient of a NaN is NaN.
    probability = tf.where(positive, probability, 1.0)
    box_losses = tf.where(positive, box_losses, 0.0)
    return _mean_one_weights(probability, positive, k, bias) * box_losses


def _mean_one_weights(
    probability: tf.Tensor, positive: tf.Tensor, k: float, bias: float
) -> tf.Tensor:
    """v_i / mean_j v_j over the positives, finite with its gradient for any p.

    v_i / sum_j v_j is the softmax of ln v_i = k ln(bias + (1 - bias) p_i), in which
    neither v nor its sum underflows.
    """
    base = bias + (1.0 - bias) * probability
    log_value = k * tf.math.log(tf.maximum(base, _SMALLEST))
    log_value = tf.where(positive, log_value, log_value.dtype.min)
    count = tf.reduce_sum(tf.cast(positive, tf.float32))
    return count * tf.nn.softmax(log_value)
