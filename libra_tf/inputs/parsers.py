"""Model Garden's parsers with the detector's anchors and the anchors' objects.

Model Garden's labels tell a positive anchor's class and box, not its object, which
ISR-P ranks within. Its labeler carries attributes of objects along to their anchors:
here the object's number is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from official.vision.dataloaders import maskrcnn_input, retinanet_input
from official.vision.ops import anchor as tfm_anchor

from libra_tf.inputs.picture import without_padding
from libra_tf.models.anchors import multilevel_anchors

INSTANCE = "instance"  # name of the label that tells the objects of an image apart


class InstanceParser(retinanet_input.Parser):
    """Model Garden's parser; adds `attribute_targets[INSTANCE]` to the labels."""

    def _parse_train_data(self, data, anchor_labeler=None, input_anchor=None):
        count = tf.shape(data["groundtruth_classes"])[0]
        numbers = tf.cast(tf.range(count)[:, tf.newaxis], tf.float32)
        attributes = {**data.get("groundtruth_attributes", {}), INSTANCE: numbers}
        data = {**data, "groundtruth_attributes": attributes}
        return super()._parse_train_data(data, anchor_labeler, input_anchor)


class DenseParser(retinanet_input.Parser):
    """Parser of RetinaNet with anchors of its own.

    Args:
        anchors: settings of `multilevel_anchors`.
        **kwargs: of Model Garden's parser.
    """

    def __init__(self, *, anchors: Mapping[str, Any], **kwargs: object):
        super().__init__(**kwargs)
        self._anchors = anchors

    def _parse_train_data(self, data, anchor_labeler=None, input_anchor=None):
        parsed = super()._parse_train_data(data, anchor_labeler, self._make_anchors)
        return _with_image_shape(*parsed)

    def _parse_eval_data(self, data, anchor_labeler=None, input_anchor=None):
        parsed = super()._parse_eval_data(data, anchor_labeler, self._make_anchors)
        return _with_image_shape(*parsed)

    def _make_anchors(self, image_size: Sequence[int]) -> dict[str, tf.Tensor]:
        return multilevel_anchors(image_size, **self._anchors)


class DenseInstanceParser(DenseParser, InstanceParser):
    """Parser of RetinaNet with anchors of its own and `INSTANCE`."""


class AnchorParser(maskrcnn_input.Parser):
    """Parser of the R-CNN with anchors of its own.

    Objects beyond `max_num_instances` give no anchor labels; in Model Garden's they do.

    Args:
        anchors: settings of `multilevel_anchors`.
        **kwargs: of Model Garden's parser.
    """

    def __init__(self, *, anchors: Mapping[str, Any], **kwargs: object):
        # Model Garden's own labels are made in any case: of as few anchors as can be.
        few = {"num_scales": 1, "aspect_ratios": [1.0]}
        super().__init__(**{**kwargs, **few, "min_level": kwargs["max_level"]})
        self._anchors = anchors

    def _parse_train_data(self, data):
        image, labels = super()._parse_train_data(data)
        anchors = self._make_anchors(image)
        is_object = labels["gt_classes"] >= 0
        boxes = tf.boolean_mask(labels["gt_boxes"], is_object)
        classes = tf.boolean_mask(labels["gt_classes"], is_object)
        labeler = tfm_anchor.RpnAnchorLabeler(
            self._rpn_match_threshold,
            self._rpn_unmatched_threshold,
            self._rpn_batch_size_per_im,
            self._rpn_fg_fraction,
        )
        scores, targets = labeler.label_anchors(
            anchors, boxes, tf.cast(classes[:, tf.newaxis], tf.float32)
        )
        return image, {
            **labels,
            "anchor_boxes": anchors,
            "rpn_score_targets": scores,
            "rpn_box_targets": targets,
            "image_info": without_padding(labels["image_info"]),
        }

    def _parse_eval_data(self, data):
        image, labels = super()._parse_eval_data(data)
        return image, {
            **labels,
            "anchor_boxes": self._make_anchors(image),
            "image_info": without_padding(labels["image_info"]),
        }

    def _make_anchors(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return multilevel_anchors(image.shape[:2], **self._anchors)


def _with_image_shape(image: tf.Tensor, labels: dict) -> tuple[tf.Tensor, dict]:
    return image, {**labels, "image_info": without_padding(labels["image_info"])}
