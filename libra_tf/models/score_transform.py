"""Between the head and the detections of a one-stage detector: what a score is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras
from official.vision.modeling.layers import detection_generator

from libra_tf.models.clipped_detections import ClippedDenseDetectionGenerator
from libra_tf.models.reference_detections import ReferenceDenseDetectionGenerator
from libra_tf.ops.logits import NEVER, product_logits

_GENERATORS = {
    kind.__name__: kind
    for kind in (
        detection_generator.MultilevelDetectionGenerator,
        ClippedDenseDetectionGenerator,
        ReferenceDenseDetectionGenerator,
    )
}


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class ScoreTransform(tf_keras.layers.Layer):
    """Turns a head's logits into those of the final scores, then detects.

    Takes the place of the detection generator of a `RetinaNetModel`: the call and the
    configuration are those of Model Garden's `MultilevelDetectionGenerator`.

    With `residual_objectness`, channel 0 of each anchor is the objectness, and the
    score of a class sigmoid(objectness) * sigmoid(class), see `product_logits`.

    With `has_class_thresholds`, the weight `class_thresholds` [num_classes], not
    trained but part of checkpoints and SavedModels, holds the lowest score of each
    class; what scores less gets the score 0. It starts at 0, which removes nothing, and
    acts beside `pre_nms_score_threshold`, which holds for all classes and must be lower
    to let it act. Index 0, the background, is not used.

    With either, the logits go on in float32, and the background never scores.

    Args:
        generator: Model Garden's generator.
        num_classes: classes of the head, the background (class 0) included.
        residual_objectness: the head is one with residual objectness.
        has_class_thresholds: a threshold for each class.

    Raises:
        ValueError: `num_classes` is less than 2.

    References: Chen et al., "Residual Objectness for Imbalance Reduction" (arXiv
    1908.09075); Chen et al., "Is Heuristic Sampling Necessary in Training Deep Object
    Detectors?" (arXiv 1909.04868), class-adaptive threshold.
    """

    def __init__(
        self,
        generator: detection_generator.MultilevelDetectionGenerator,
        num_classes: int,
        residual_objectness: bool = False,
        has_class_thresholds: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**{"autocast": False, "trainable": False, **kwargs})
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes}")
        self.generator = generator
        self.num_classes = num_classes
        self.residual_objectness = residual_objectness
        self.class_thresholds = None
        if has_class_thresholds:
            self.class_thresholds = self.add_weight(
                name="class_thresholds",
                shape=[num_classes],
                dtype=tf.float32,
                initializer="zeros",
                trainable=False,
                experimental_autocast=False,  # 8 bits of mantissa are no threshold
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )

    # Not `call`, as Model Garden's generator: Keras would trace a layer that it has
    # called on saving, with any batch size, which most kinds of NMS cannot take.
    def __call__(
        self,
        raw_boxes: Mapping[str, tf.Tensor],
        raw_scores: Mapping[str, tf.Tensor],
        anchor_boxes: Mapping[str, tf.Tensor],
        image_shape: tf.Tensor,
        raw_attributes: Mapping[str, tf.Tensor] | None = None,
    ) -> Mapping[str, Any]:
        """Detects, see `MultilevelDetectionGenerator`."""
        scores = {level: self.transform(raw_scores[level]) for level in raw_scores}
        return self.generator(
            raw_boxes, scores, anchor_boxes, image_shape, raw_attributes
        )

    def transform(self, raw_scores: tf.Tensor) -> tf.Tensor:
        """Logits of the final scores.

        Args:
            raw_scores: [B, H, W, A * num_classes], logits of the head for one level.

        Returns:
            The same shape; float32 if anything is transformed.

        Raises:
            ValueError: the channels are no multiple of `num_classes`.
        """
        if not self.residual_objectness and self.class_thresholds is None:
            return raw_scores
        if raw_scores.shape[-1] % self.num_classes:
            raise ValueError(
                f"raw_scores must have a multiple of num_classes {self.num_classes} "
                f"channels, got {raw_scores.shape[-1]}"
            )
        shape = tf.shape(raw_scores)
        per_anchor = tf.concat([shape[:-1], [-1, self.num_classes]], axis=0)
        logits = tf.reshape(tf.cast(raw_scores, tf.float32), per_anchor)
        objectness, logits = logits[..., :1], logits[..., 1:]
        if self.residual_objectness:
            logits = product_logits(objectness, logits)
        if self.class_thresholds is not None:
            too_low = tf.sigmoid(logits) < self.class_thresholds[1:]
            logits = tf.where(too_low, NEVER, logits)
        logits = tf.concat([tf.fill(tf.shape(objectness), NEVER), logits], axis=-1)
        return tf.ensure_shape(tf.reshape(logits, shape), raw_scores.shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the generator's settings, of which models read some, and ours."""
        return {
            **self.generator.get_config(),
            "generator": type(self.generator).__name__,
            "num_classes": self.num_classes,
            "residual_objectness": self.residual_objectness,
            "has_class_thresholds": self.class_thresholds is not None,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ScoreTransform:
        """Returns the layer of `get_config`."""
        config = dict(config)
        names = ("num_classes", "residual_objectness", "has_class_thresholds", "name")
        ours = {name: config.pop(name) for name in names}
        kind = _GENERATORS[config.pop("generator")]
        return cls(kind(**config), **ours)
