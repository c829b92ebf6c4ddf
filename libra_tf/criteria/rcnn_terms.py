"""The terms of the losses of the RPN and of the R-CNN head, with their divisors.

Shape shorthand in this module: B images, N sampled RoIs per image, C classes with
background 0, A anchors per cell of a level.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from libra_tf.criteria.box import Elementwise
from libra_tf.criteria.normalizer import count_at_least_one, replica_mean
from libra_tf.losses import smooth_l1
from libra_tf.ops.per_class import deltas_of_class

Levels = Mapping[str, tf.Tensor]


def flatten_levels(levels: Levels, size: int | None = None) -> tf.Tensor:
    """Joins {level: [B, H, W, A * size]} to [B, anchors, size], or [B, anchors]."""
    shape = [-1] if size is None else [-1, size]
    return tf.concat(
        [
            tf.reshape(levels[level], [tf.shape(levels[level])[0], *shape])
            for level in sorted(levels, key=int)
        ],
        axis=1,
    )


def sampled_anchor_losses(
    scores: Levels,
    boxes: Levels,
    score_targets: Levels,
    box_targets: Levels,
    *,
    beta: float,
    normalizer: str = "reference",
) -> tuple[tf.Tensor, tf.Tensor]:
    """Binary cross entropy and smooth L1 over the sampled anchors.

    Both sums are divided by the number of sampled anchors, with at least one positive
    and one negative counted per image, over all replicas.

    Args:
        scores: {level: [B, H, W, A]} logits.
        boxes: {level: [B, H, W, 4A]} predicted deltas.
        score_targets: {level: [B, H, W, A]}, 1 positive, 0 negative, -1 not sampled.
        box_targets: {level: [B, H, W, 4A]} target deltas.
        beta: threshold of smooth L1.
        normalizer: "reference", or "positives", which divides the box loss by the
            coordinates of the sampled positives.

    Returns:
        The score loss and the box loss, scalars. The box loss takes the sampled
        positives only; Model Garden's takes every matched anchor.
    """
    labels = flatten_levels(score_targets)
    positive, negative = tf.equal(labels, 1), tf.equal(labels, 0)
    sampled_count = replica_mean(
        count_at_least_one(positive) + count_at_least_one(negative)
    )
    sampled = tf.cast(positive | negative, tf.float32)
    # What is not looked at may hold anything: select, since 0 * inf is not 0.
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(
        labels=tf.cast(positive, tf.float32),
        logits=tf.where(sampled > 0, tf.cast(flatten_levels(scores), tf.float32), 0.0),
    )
    mask = positive[..., tf.newaxis]
    targets, predictions = (
        tf.where(mask, values, tf.zeros_like(values))
        for values in (flatten_levels(box_targets, 4), flatten_levels(boxes, 4))
    )
    box_sum = tf.reduce_sum(smooth_l1(targets, predictions, beta=beta))
    box_count = sampled_count
    if normalizer == "positives":
        box_count = _positive_coordinates(positive)
    return tf.reduce_sum(entropy * sampled) / sampled_count, box_sum / box_count


def rcnn_entropies(class_outputs: tf.Tensor, class_targets: tf.Tensor) -> tf.Tensor:
    """Softmax cross entropy of each RoI, [B, N]; see `rcnn_class_loss`."""
    # A row of class -1 gets weight 0, but 0 * NaN is NaN.
    valid = (class_targets >= 0)[..., tf.newaxis]
    return tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.maximum(tf.cast(class_targets, tf.int32), 0),
        logits=tf.where(valid, tf.cast(class_outputs, tf.float32), 0.0),
    )


def rcnn_class_loss(
    class_outputs: tf.Tensor,
    class_targets: tf.Tensor,
    weights: tf.Tensor | None = None,
) -> tf.Tensor:
    """Softmax cross entropy over the sampled RoIs, divided by their number.

    Args:
        class_outputs: [B, N, C] logits.
        class_targets: [B, N]; -1 marks a row that no candidate filled.
        weights: [B, N], of each RoI; all 1 by default. They do not change the divisor.

    Returns:
        A scalar.
    """
    valid = tf.cast(class_targets >= 0, tf.float32)
    entropy = rcnn_entropies(class_outputs, class_targets)
    weighted = entropy * valid if weights is None else entropy * valid * weights
    return tf.reduce_sum(weighted) / replica_mean(tf.reduce_sum(valid))


def rcnn_box_loss(
    box_outputs: tf.Tensor,
    class_targets: tf.Tensor,
    box_targets: tf.Tensor,
    *,
    elementwise: Elementwise,
    normalizer: str,
) -> tf.Tensor:
    """Sum over the four coordinates of the positive RoIs, divided by a count.

    Args:
        box_outputs: [B, N, 4C] or [B, N, 4] predicted deltas.
        class_targets: [B, N]; positive is > 0.
        box_targets: [B, N, 4] target deltas.
        elementwise: loss per coordinate.
        normalizer: see `rcnn_box_count`.

    Returns:
        A scalar.
    """
    errors = rcnn_box_errors(box_outputs, class_targets, box_targets, elementwise)
    return tf.reduce_sum(errors) / rcnn_box_count(class_targets, normalizer)


def rcnn_box_errors(
    box_outputs: tf.Tensor,
    class_targets: tf.Tensor,
    box_targets: tf.Tensor,
    elementwise: Elementwise,
) -> tf.Tensor:
    """Loss of each coordinate, [B, N, 4], 0 for what is not positive."""
    positive = (class_targets > 0)[..., tf.newaxis]
    boxes = deltas_of_class(box_outputs, class_targets)
    # Rows without a target may hold anything. Selecting after the loss would keep the
    # value clean, but not the gradient: 0 * NaN is NaN.
    return elementwise(
        tf.where(positive, box_targets, tf.zeros_like(box_targets)),
        tf.where(positive, boxes, tf.zeros_like(boxes)),
    )


def rcnn_box_count(class_targets: tf.Tensor, normalizer: str) -> tf.Tensor:
    """The divisor of the box loss.

    "reference" counts all sampled RoIs; "tfm" and "positives" the coordinates of the
    positive RoIs.
    """
    if normalizer == "reference":
        valid = tf.cast(class_targets >= 0, tf.float32)
        return replica_mean(tf.reduce_sum(valid))
    return _positive_coordinates(class_targets > 0)


def _positive_coordinates(positive: tf.Tensor) -> tf.Tensor:
    count = 4.0 * tf.reduce_sum(tf.cast(positive, tf.float32))
    # Model Garden's constant, with which an image without positives has loss 0.
    return replica_mean(count, minimum=0.01)
