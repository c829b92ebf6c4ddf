"""Proposals of the RPN: Model Garden's in float32, and mmdetection's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras
from official.vision.modeling.layers import roi_generator

from libra_tf.ops.boxes import decode_deltas
from libra_tf.ops.empty_boxes import without_empty
from libra_tf.ops.group_nms import best_rows, clip_to_image, group_nms, has_extent

Levels = Mapping[str, tf.Tensor]


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class ROIGenerator(roi_generator.MultilevelROIGenerator):
    """Decodes, clips and suppresses boxes in float32, whatever the precision.

    Model Garden casts the anchors to the type of the scores. Under mixed precision that
    is bfloat16, which keeps 8 bits: proposals jump by 4 pixels at coordinate 1000, and
    many of them collapse into one. Under float32 the two are equal.

    Args:
        drops_empty: boxes that clipping leaves no area get the score 0 before the best
            are taken; where there are too few others, they end the list.
        **kwargs: of Model Garden's layer.
    """

    def __init__(self, *, drops_empty: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self._config_dict["drops_empty"] = drops_empty

    def call(self, raw_boxes, raw_scores, anchor_boxes, image_shape, training=None):
        """Returns proposals and their scores; see the base class."""
        boxes, scores, anchors = (
            {level: tf.cast(x, tf.float32) for level, x in levels.items()}
            for levels in (raw_boxes, raw_scores, anchor_boxes)
        )
        image_shape = tf.cast(image_shape, tf.float32)
        if self._config_dict["drops_empty"]:
            scores = without_empty(scores, boxes, anchors, image_shape)
        return super().call(boxes, scores, anchors, image_shape, training=training)


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class ReferenceROIGenerator(roi_generator.MultilevelROIGenerator):
    """Best anchors of each level, decoded, clipped, and suppressed within the levels.

    Always gives `num_proposals` rows, best first, padded with zeros. A box without
    area, and one that is not longer than `pre_nms_min_size_threshold` on both sides, is
    no proposal. `use_batched_nms` has no meaning here.

    Args:
        drops_empty: in training, boxes without area are dropped before the best of each
            level are taken. The reference drops them after, and has less padding.
        test_drops_empty: the same in evaluation and inference.
        **kwargs: of Model Garden's layer.

    Reference: mmdetection `RPNHead`, whose sides are clamped both ways on decoding.
    """

    def __init__(
        self,
        *,
        drops_empty: bool = False,
        test_drops_empty: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self._config_dict["drops_empty"] = drops_empty
        self._config_dict["test_drops_empty"] = test_drops_empty

    def call(
        self,
        raw_boxes: Levels,
        raw_scores: Levels,
        anchor_boxes: Levels,
        image_shape: tf.Tensor,
        training: bool | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns proposals [B, K, 4] and scores [B, K]; see the base class."""
        prefix = "" if training else "test_"
        setting = {
            name: self._config_dict[prefix + name]
            for name in (
                "pre_nms_top_k",
                "pre_nms_score_threshold",
                "pre_nms_min_size_threshold",
                "nms_iou_threshold",
                "num_proposals",
                "drops_empty",
            )
        }
        if setting["drops_empty"]:
            raw_scores = without_empty(raw_scores, raw_boxes, anchor_boxes, image_shape)
        parts = [
            _best_of_level(
                raw_boxes[level],
                raw_scores[level],
                anchor_boxes[level],
                group,
                setting["pre_nms_top_k"],
            )
            for group, level in enumerate(sorted(raw_scores, key=int))
        ]
        boxes, scores, groups = (tf.concat(x, axis=1) for x in zip(*parts, strict=True))
        boxes = clip_to_image(boxes, image_shape)
        sides = boxes[..., 2:] - boxes[..., :2]
        valid = tf.reduce_all(sides > setting["pre_nms_min_size_threshold"], axis=-1)
        if setting["pre_nms_score_threshold"] > 0:
            valid &= scores > setting["pre_nms_score_threshold"]
        kept = group_nms(
            boxes,
            scores,
            groups,
            valid & has_extent(boxes),
            iou_threshold=setting["nms_iou_threshold"],
            max_kept=setting["num_proposals"],
        )
        return kept.boxes, kept.scores


def _best_of_level(
    raw_boxes: tf.Tensor,
    raw_scores: tf.Tensor,
    anchors: tf.Tensor,
    group: int,
    most: int,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decoded boxes, scores and group of the best anchors of one level."""
    batch = tf.shape(raw_scores)[0]
    scores = tf.sigmoid(tf.cast(tf.reshape(raw_scores, [batch, -1]), tf.float32))
    scores, rows = best_rows(scores, most)
    deltas, anchors = (
        tf.gather(tf.reshape(x, [batch, -1, 4]), rows, batch_dims=1)
        for x in (raw_boxes, anchors)
    )
    boxes = decode_deltas(deltas, anchors, clamp_below=True)
    return boxes, scores, tf.fill(tf.shape(scores), group)
