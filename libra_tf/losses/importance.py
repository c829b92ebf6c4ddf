"""Importance-based sample reweighting of positives (ISR-P): prime samples first."""

import tensorflow as tf

from libra_tf.ops.hierarchical_rank import iou_hierarchical_rank
from libra_tf.ops.rescale import check_power, keep_weighted_sum, shifted_power

# PISA as published (mmdetection, configs/pisa).
K = 2.0
BIAS = 0.0


def isr_positive_weights(
    iou: tf.Tensor,
    classes: tf.Tensor,
    instances: tf.Tensor,
    positive: tf.Tensor,
    values: tf.Tensor,
    weights: tf.Tensor | None = None,
    *,
    k: float = K,
    bias: float = BIAS,
) -> tf.Tensor:
    """Class loss weights that favour the positives which locate their object best.

    With r_i the IoU-HLR of a positive (`ops.hierarchical_rank`) and n_max the number of
    positives in the class of the batch that has most:

        u_i = (n_max - r_i) / n_max
        w_i = old_i * (bias + (1 - bias) u_i)^k * s

    s keeps the total: sum_i w_i values_i = sum_i old_i values_i over the positives.

    Args:
        iou: [N], IoU of each predicted box with its ground truth, in [0, 1]. N runs
            over all images of the batch.
        classes: integers [N], class of the matched ground truth.
        instances: integers [N], a number of its own for each (image, ground truth) of
            the batch, e.g. `image * max_num_gt + matched_gt_index`.
        positive: `bool` [N]. Of other entries only `weights` is looked at.
        values: [N], >= 0, the unweighted class loss of each example (a loss [N, C]
            summed over the classes).
        weights: [N], >= 0, the weights so far; None means 1.
        k: >= 0; 0 keeps the weights.
        bias: in [0, 1], share of the weight that the rank does not touch.

    Returns:
        `float32` [N], the new weights; entries that are not positive keep theirs. All
        keep theirs if there are no positives, or the new total is 0 or not finite. No
        gradient flows through them.

    Raises:
        ValueError: if the shapes differ, or `k` or `bias` is out of its range.

    Reference: Cao et al., "Prime Sample Attention in Object Detection", CVPR 2020.

    Deviations: the published code multiplies `old_i` inside the power, which is the
    same for equal old weights and bias 0, but gives an example of weight 0 a weight if
    the bias is not. Of equal IoU the lowest index ranks first.
    """
    check_power(k, bias)
    iou = tf.convert_to_tensor(iou)
    values = tf.cast(tf.stop_gradient(values), tf.float32)
    old = tf.ones_like(values) if weights is None else tf.stop_gradient(weights)
    old = tf.cast(old, tf.float32)
    for name, shape in (("values", values.shape), ("weights", old.shape)):
        if not shape.is_compatible_with(iou.shape):
            raise ValueError(f"{name} must have shape {iou.shape}, got {shape}")
    rank, num_max = iou_hierarchical_rank(iou, classes, instances, positive)
    # An entry that is not positive may have any rank, and num_max may be 0.
    rank = tf.cast(tf.where(positive, rank, 0), tf.float32)
    num_max = tf.cast(tf.maximum(num_max, 1), tf.float32)
    importance = shifted_power((num_max - rank) / num_max, k=k, bias=bias)
    return keep_weighted_sum(old * importance, old, values, positive)
