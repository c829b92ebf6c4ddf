"""Detections as mmdetection makes them: all pairs compete within their class.

Shape shorthand in this module: B images, N RoIs, K detections, C classes with the
background 0, which is never detected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras
from official.vision.modeling.layers import detection_generator

from libra_tf.ops.boxes import decode_deltas
from libra_tf.ops.group_nms import (
    Kept,
    best_rows,
    clip_to_image,
    group_nms,
    has_extent,
)
from libra_tf.ops.per_class import foreground_deltas

Levels = Mapping[str, tf.Tensor]


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class ReferenceDetectionGenerator(detection_generator.DetectionGenerator):
    """Detections of an R-CNN head, see Model Garden's `DetectionGenerator`.

    Every (RoI, class) whose score is above `pre_nms_score_threshold` is decoded with
    sides clamped both ways, clipped to the image, and competes with those of its class.

    Args:
        drops_empty: boxes that clipping leaves no area do not compete; the reference's
            do.
        **kwargs: of Model Garden's generator.

    Reference: mmdetection `BBoxHead` and `multiclass_nms`.
    """

    def __init__(self, *, drops_empty: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self._config_dict["drops_empty"] = drops_empty

    def __call__(
        self,
        raw_boxes: tf.Tensor,
        raw_scores: tf.Tensor,
        anchor_boxes: tf.Tensor,
        image_shape: tf.Tensor,
        regression_weights: Sequence[float] | None = None,
        bbox_per_class: bool = True,
    ) -> dict[str, tf.Tensor]:
        """Detects.

        Args:
            raw_boxes: [B, N, 4 C], or [B, N, 4] without `bbox_per_class`.
            raw_scores: [B, N, C].
            anchor_boxes: [B, N, 4], the RoIs; those without area are padding.
            image_shape: [B, 2], height and width without padding.
            regression_weights: see `decode_deltas`.
            bbox_per_class: whether boxes depend on the class.
        """
        config = self._config_dict
        logits = tf.cast(raw_scores, tf.float32)
        if config["use_sigmoid_probability"]:
            scores = tf.sigmoid(logits)[..., 1:]
        else:
            scores = tf.nn.softmax(logits)[..., 1:]
        batch, count, classes = tf.unstack(tf.shape(scores))
        boxes = decode_deltas(
            foreground_deltas(raw_boxes, bbox_per_class),
            tf.cast(anchor_boxes, tf.float32)[:, :, tf.newaxis],
            weights=regression_weights,
            clamp_below=True,
        )
        boxes = clip_to_image(boxes, image_shape)
        boxes = tf.broadcast_to(boxes, [batch, count, classes, 4])
        if not config["apply_nms"]:
            return {"decoded_boxes": boxes, "decoded_box_scores": scores}
        is_roi = has_extent(anchor_boxes)[..., tf.newaxis]
        valid = is_roi & (scores > config["pre_nms_score_threshold"])
        if config["drops_empty"]:
            valid &= has_extent(boxes)
        groups = tf.broadcast_to(tf.range(classes), [batch, count, classes])
        flat = [batch, count * classes]
        return _results(
            group_nms(
                tf.reshape(boxes, [*flat, 4]),
                tf.reshape(scores, flat),
                tf.reshape(groups, flat),
                tf.reshape(valid, flat),
                iou_threshold=config["nms_iou_threshold"],
                max_kept=config["max_num_detections"],
            )
        )


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class ReferenceDenseDetectionGenerator(
    detection_generator.MultilevelDetectionGenerator
):
    """Detections of RetinaNet, see Model Garden's `MultilevelDetectionGenerator`.

    The best `pre_nms_top_k` (anchor, class) pairs of each level whose score is above
    `pre_nms_score_threshold` are decoded with sides clamped both ways, clipped to the
    image, and compete with those of their class. Boxes without area do not.

    Reference: mmdetection `BaseDenseHead`.
    """

    def __call__(
        self,
        raw_boxes: Levels,
        raw_scores: Levels,
        anchor_boxes: Levels,
        image_shape: tf.Tensor,
        raw_attributes: Mapping[str, Levels] | None = None,
    ) -> dict[str, Any]:
        """Detects.

        Raises:
            ValueError: there are attributes, or settings that this form has not. An
                experiment with them is refused when it is read; this is for direct use.
        """
        config = self._config_dict
        if raw_attributes or not config["apply_nms"] or config["return_decoded"]:
            raise ValueError(
                "there are no attributes, return_decoded, or detections without "
                "suppression"
            )
        parts = [
            self._best_of_level(
                raw_boxes[level], raw_scores[level], anchor_boxes[level]
            )
            for level in sorted(raw_scores, key=int)
        ]
        boxes, scores, groups = (tf.concat(x, axis=1) for x in zip(*parts, strict=True))
        boxes = clip_to_image(boxes, image_shape)
        valid = has_extent(boxes) & (scores > config["pre_nms_score_threshold"])
        return _results(
            group_nms(
                boxes,
                scores,
                groups,
                valid,
                iou_threshold=config["nms_iou_threshold"],
                max_kept=config["max_num_detections"],
            )
        )

    def _best_of_level(self, raw_boxes, raw_scores, anchors):
        """Decoded boxes, scores and classes (from 0) of the best pairs of one level."""
        batch, num_anchors = tf.shape(raw_boxes)[0], raw_boxes.shape[-1] // 4
        classes = raw_scores.shape[-1] // num_anchors - 1
        logits = tf.reshape(tf.cast(raw_scores, tf.float32), [batch, -1, classes + 1])
        scores = tf.reshape(tf.sigmoid(logits[..., 1:]), [batch, -1])
        scores, pairs = best_rows(scores, self._config_dict["pre_nms_top_k"])
        deltas, anchors = (
            tf.gather(tf.reshape(x, [batch, -1, 4]), pairs // classes, batch_dims=1)
            for x in (raw_boxes, anchors)
        )
        boxes = decode_deltas(
            deltas,
            anchors,
            weights=self._config_dict["box_coder_weights"],
            clamp_below=True,
        )
        return boxes, scores, pairs % classes


def _results(kept: Kept) -> dict[str, tf.Tensor]:
    is_kept = tf.range(tf.shape(kept.groups)[1]) < kept.count[:, tf.newaxis]
    return {
        "detection_boxes": kept.boxes,
        "detection_scores": kept.scores,
        "detection_classes": tf.where(is_kept, kept.groups + 1, 0),
        "num_detections": kept.count,
    }
