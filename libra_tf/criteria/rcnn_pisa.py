"""PISA in the R-CNN head: which positives matter, and how much.

Shape shorthand in this module: B images, N sampled RoIs per image, C classes with
background 0, M ground-truth boxes per image.
"""

from __future__ import annotations

import tensorflow as tf

from libra_tf.criteria.box import Elementwise
from libra_tf.criteria.head_losses import Tensors
from libra_tf.criteria.pisa import flat, iou_of_deltas, unique_over_batch
from libra_tf.criteria.rcnn_terms import (
    rcnn_box_count,
    rcnn_box_errors,
    rcnn_entropies,
)
from libra_tf.experiments import loss_config
from libra_tf.losses.carl import carl
from libra_tf.losses.importance import isr_positive_weights
from libra_tf.ops.boxes import ROI_DELTA_WEIGHTS
from libra_tf.ops.per_class import deltas_of_class


def roi_class_weights(
    outputs: Tensors, config: loss_config.PositiveImportance
) -> tf.Tensor:
    """The sampler's weights, of the positives multiplied by those of ISR-P: [B, N]."""
    targets, weights = outputs["class_targets"], outputs["class_weights"]
    if not config.enabled:
        return weights
    positive = targets > 0
    instances = tf.cast(outputs["matched_gt_indices"], tf.int32)
    return tf.reshape(
        isr_positive_weights(
            flat(_predicted_iou(outputs)),
            tf.cast(flat(targets), tf.int32),
            flat(unique_over_batch(instances)),
            flat(positive),
            flat(rcnn_entropies(outputs["class_outputs"], targets)),
            flat(weights),
            k=config.k,
            bias=config.bias,
        ),
        tf.shape(targets),
    )


def carl_loss(
    outputs: Tensors,
    config: loss_config.ClassAwareRegression,
    elementwise: Elementwise,
    normalizer: str,
) -> tf.Tensor:
    """Box loss of the positive RoIs, weighted by the score of their class.

    Args:
        outputs: of the model, in training.
        config: settings; `weight` is the factor of the result.
        elementwise: box loss per coordinate.
        normalizer: see `rcnn_box_count`.

    Returns:
        A scalar.
    """
    targets = tf.cast(outputs["class_targets"], tf.int32)
    logits = tf.cast(outputs["class_outputs"], tf.float32)
    # The slope of the softmax at NaN is NaN, also where `carl` does not look.
    positive = (targets > 0)[..., tf.newaxis]
    probabilities = tf.nn.softmax(tf.where(positive, logits, 0.0))
    own = tf.gather(probabilities, tf.maximum(targets, 0), batch_dims=2)
    errors = rcnn_box_errors(
        outputs["box_outputs"], targets, outputs["box_targets"], elementwise
    )
    values = carl(
        flat(own),
        flat(tf.reduce_sum(errors, axis=-1)),
        flat(targets > 0),
        k=config.k,
        bias=config.bias,
    )
    total = config.weight * tf.reduce_sum(values)
    return total / rcnn_box_count(targets, normalizer)


def _predicted_iou(outputs: Tensors) -> tf.Tensor:
    """IoU of the predicted box of the target class with its target, [B, N]."""
    deltas = deltas_of_class(outputs["box_outputs"], outputs["class_targets"])
    return iou_of_deltas(deltas, outputs["box_targets"], ROI_DELTA_WEIGHTS)
