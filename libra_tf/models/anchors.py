"""The anchors of a detector, for the model and for the labels of its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from official.vision.ops import anchor as tfm_anchor

from libra_tf.experiments import detector_config
from libra_tf.ops.corner_anchors import corner_anchors
from libra_tf.ops.resize import spatial_size


def anchor_settings(
    model: detector_config.MaskRCNNParts | detector_config.RetinaNetParts,
) -> dict:
    """Returns what `multilevel_anchors` needs beside the size of the image."""
    return {
        "form": model.anchor.form,
        "min_level": model.min_level,
        "max_level": model.max_level,
        "num_scales": model.anchor.num_scales,
        "aspect_ratios": list(model.anchor.aspect_ratios),
        "anchor_size": model.anchor.anchor_size,
    }


def multilevel_anchors(
    image_size: Sequence[int | tf.Tensor],
    *,
    form: str,
    min_level: int,
    max_level: int,
    num_scales: int,
    aspect_ratios: Sequence[float],
    anchor_size: float,
) -> dict[str, tf.Tensor]:
    """Returns {level: [height_l, width_l, 4 A]}, yxyx in pixels.

    Args:
        image_size: height and width of the padded image; numbers for "model_garden".
        form: of the anchors, see `RPNAnchor`.
        min_level: finest level.
        max_level: coarsest level.
        num_scales: scales per octave.
        aspect_ratios: width / height, in order.
        anchor_size: side of the smallest square anchor, in cells.
    """
    settings = (min_level, max_level, num_scales, aspect_ratios, anchor_size)
    if form == "reference":
        return corner_anchors(image_size, *settings)
    return tfm_anchor.Anchor(*settings, image_size).multilevel_boxes


def own_anchors(
    images: tf.Tensor, config: Mapping[str, Any]
) -> dict[str, tf.Tensor] | None:
    """`batch_anchors` of a form of ours; None where Model Garden makes its own."""
    if config["anchor_form"] == "model_garden":
        return None
    return batch_anchors(images, config)


def batch_anchors(images: tf.Tensor, config: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Returns the anchors of a batch of images [B, H, W, 3]: [B, h, w, 4 A].

    Args:
        images: the padded images.
        config: of a detector, with `anchor_form`.
    """
    names = ("min_level", "max_level", "num_scales", "aspect_ratios", "anchor_size")
    settings = {name: config[name] for name in names}
    size = spatial_size(images)
    anchors = multilevel_anchors(size, form=config["anchor_form"], **settings)
    batch = tf.shape(images)[0]
    return {
        level: tf.tile(boxes[tf.newaxis], [batch, 1, 1, 1])
        for level, boxes in anchors.items()
    }
