"""What a trained detector computes for a batch, in inference mode.

Normalisation layers use their moving statistics, which stay as they are; everything
else is as in training: augmented images, and as many proposals.

Shape shorthand in this module:
    B: images in the batch.
    N: candidate boxes per image, M: ground-truth boxes per image.
    A: anchors of all levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras
from official.vision.losses import loss_utils
from official.vision.ops import box_ops

from libra_tf.models.neck import DecoderWithNeck
from libra_tf.ops.boxes import ROI_DELTA_WEIGHTS
from libra_tf.ops.per_class import deltas_of_class
from libra_tf.samplers import RoISelection

Levels = Mapping[str, tf.Tensor]

_SOME_BOX = (0.0, 0.0, 1.0, 1.0)


class Pyramids(NamedTuple):
    """Levels as the decoder gives them, and behind the neck (None without one)."""

    before: Levels
    after: Levels | None


class Heads(NamedTuple):
    """Outputs of the R-CNN head: class logits [B, N, C] and deltas [B, N, 4C]."""

    class_logits: tf.Tensor
    deltas: tf.Tensor


def run_detector(
    model: tf_keras.Model, images: tf.Tensor, labels: Mapping[str, Any]
) -> tuple[Mapping[str, Any], Pyramids]:
    """Runs a Faster, Mask or Cascade R-CNN or a RetinaNet of Model Garden's kind.

    Args:
        model: the detector.
        images: [B, H, W, 3], normalised.
        labels: of the training pipeline.

    Returns:
        The detector's outputs and its pyramids.
    """
    two_stage = model.is_two_stage
    outputs = model(
        images,
        image_shape=labels["image_info"][:, 1],
        anchor_boxes=labels["anchor_boxes"],
        training=False,
        **({} if two_stage else {"output_intermediate_features": True}),
    )
    if two_stage:
        backbone, seen = outputs["backbone_features"], outputs["decoder_features"]
    else:
        backbone, seen = _levels(outputs, "backbone"), _levels(outputs, "decoder")
    if isinstance(model.decoder, DecoderWithNeck):
        return outputs, Pyramids(model.decoder.decoder(backbone), seen)
    return outputs, Pyramids(seen, None)


def candidates(
    model: tf_keras.Model,
    outputs: Mapping[str, Any],
    labels: Mapping[str, Any],
    mix_gt_boxes: bool,
) -> tf.Tensor:
    """Boxes [B, N, 4] that the RoI sampler gets in training."""
    proposals, _ = model.roi_generator(
        outputs["rpn_boxes"],
        outputs["rpn_scores"],
        labels["anchor_boxes"],
        labels["image_info"][:, 1],
        True,
    )
    if not mix_gt_boxes:
        return proposals
    return tf.concat([proposals, tf.cast(labels["gt_boxes"], proposals.dtype)], axis=1)


def run_head(model: tf_keras.Model, features: Levels, boxes: tf.Tensor) -> Heads:
    """Runs the (first) R-CNN head over boxes [B, N, 4]; padding gives any numbers."""
    has_area = tf.reduce_all(boxes[..., 2:] > boxes[..., :2], axis=-1, keepdims=True)
    boxes = tf.where(has_area, boxes, tf.constant(_SOME_BOX, boxes.dtype))
    return Heads(*model.run_roi_head(features, boxes))


def rcnn_errors(
    selection: RoISelection, deltas: tf.Tensor, labels: Mapping[str, Any]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Predicted minus target deltas [B, N, 4], and which of them are positives [B, N].

    All positives among the candidates, not a drawn part of them.
    """
    index = selection.matched_gt_indices
    classes = tf.gather(labels["gt_classes"], index, batch_dims=1)
    matched = tf.gather(labels["gt_boxes"], index, batch_dims=1)
    targets = box_ops.encode_boxes(
        tf.cast(matched, tf.float32),
        tf.cast(selection.boxes, tf.float32),
        weights=ROI_DELTA_WEIGHTS,
    )
    return deltas_of_class(deltas, classes) - targets, selection.positive


def anchor_errors(
    outputs: Mapping[str, Any], labels: Mapping[str, Any]
) -> tuple[tf.Tensor, tf.Tensor]:
    """The same of RetinaNet's anchors: [B, A, 4] and [B, A]."""
    targets, predictions = (
        tf.cast(loss_utils.multi_level_flatten(levels, last_dim=4), tf.float32)
        for levels in (labels["box_targets"], outputs["box_outputs"])
    )
    return predictions - targets, labels["box_weights"] > 0


def _levels(outputs: Mapping[str, Any], part: str) -> dict[str, tf.Tensor]:
    """Levels from Model Garden's flat names, as `backbone_3`."""
    found = {name.partition("_"): value for name, value in outputs.items()}
    return {
        level: value
        for (head, _, level), value in found.items()
        if head == part and level.isdecimal()
    }
