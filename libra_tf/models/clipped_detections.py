"""Model Garden's detections, without boxes that clipping leaves no area.

Model Garden lets these compete: a box that lies wholly in the padding is a line at the
border of the picture, with its full score. Where every box keeps some area, all is
Model Garden's, to the last bit (in half precision its softmax is taken in `float32`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras
from official.vision.modeling.layers import detection_generator

from libra_tf.ops.empty_boxes import (
    Levels,
    reaches_image,
    without_empty,
    without_sigmoid_classes,
    without_softmax_classes,
)
from libra_tf.ops.per_class import foreground_deltas


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class ClippedDetectionGenerator(detection_generator.DetectionGenerator):
    """Detections of an R-CNN head; a class whose box has no area scores 0."""

    def __call__(
        self,
        raw_boxes: tf.Tensor,
        raw_scores: tf.Tensor,
        anchor_boxes: tf.Tensor,
        image_shape: tf.Tensor,
        regression_weights: Sequence[float] | None = None,
        bbox_per_class: bool = True,
    ) -> dict[str, tf.Tensor]:
        """Detects; see `ReferenceDetectionGenerator` for the arguments."""
        deltas = foreground_deltas(raw_boxes, bbox_per_class)
        rois = anchor_boxes[:, :, tf.newaxis]
        kept = reaches_image(deltas, rois, image_shape, regression_weights)
        is_sigmoid = self._config_dict["use_sigmoid_probability"]
        drop = without_sigmoid_classes if is_sigmoid else without_softmax_classes
        return super().__call__(
            raw_boxes,
            drop(raw_scores, kept),
            anchor_boxes,
            image_shape,
            regression_weights,
            bbox_per_class,
        )


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class ClippedDenseDetectionGenerator(detection_generator.MultilevelDetectionGenerator):
    """Detections of RetinaNet; an anchor whose box has no area scores 0."""

    def __call__(
        self,
        raw_boxes: Levels,
        raw_scores: Levels,
        anchor_boxes: Levels,
        image_shape: tf.Tensor,
        raw_attributes: Mapping[str, Levels] | None = None,
    ) -> Mapping[str, Any]:
        """Detects, see `MultilevelDetectionGenerator`."""
        config = self._config_dict
        # The version "v3" of the suppression decodes without weights.
        weights = None if config["nms_version"] == "v3" else config["box_coder_weights"]
        scores = without_empty(
            raw_scores, raw_boxes, anchor_boxes, image_shape, weights
        )
        return super().__call__(
            raw_boxes, scores, anchor_boxes, image_shape, raw_attributes
        )
