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
    model: tf_keras.Model, images: tf.Tensor
) -> tuple[Mapping[str, Any], Pyramids]:
    """Runs a Faster, Mask or Cascade R-CNN or a RetinaNet of Model Garden's kind.

    Args:
        model: the detector.
        images: [B, H, W, 3], normalised.

    Returns:
        The outputs of its pyramid and of the head that looks at every cell, by the
        model's names, and its pyramids.
    """
    return _Parts(model)(images, training=False)


class _Parts(tf_keras.layers.Layer):
    """Backbone, decoder, neck, and the head that looks at every cell.

    Not the whole model: tracing what makes detections takes most of a minute. A layer,
    since the layers below take whether they train from the one that calls them.
    """

    def __init__(self, model: tf_keras.Model):
        super().__init__(autocast=False, dtype=model.compute_dtype)
        self._model = model

    def call(
        self, images: tf.Tensor, training: bool | None = None
    ) -> tuple[dict[str, Any], Pyramids]:
        """Returns outputs of the model by its names, and the pyramids."""
        model = self._model
        features, decoder = model.backbone(images), model.decoder
        if isinstance(decoder, DecoderWithNeck):
            before = decoder.decoder(features)
            pyramids = Pyramids(before, decoder.neck(before))
        else:
            pyramids = Pyramids(decoder(features) if decoder else features, None)
        seen = pyramids.before if pyramids.after is None else pyramids.after
        if model.is_two_stage:
            scores, boxes = model.rpn_head(seen)
            names = {"rpn_scores": scores, "rpn_boxes": boxes, "decoder_features": seen}
            return names, pyramids
        scores, boxes, _ = model.head(seen)
        return {"cls_outputs": scores, "box_outputs": boxes}, pyramids


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
