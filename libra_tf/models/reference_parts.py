"""The parts of both detectors whose form is "reference", which is mmdetection's.

Each function returns the parts to swap, by the names of the model's arguments. They
are made after Model Garden's, and before any other part of ours.
"""

from __future__ import annotations

from typing import Any

from official.vision.modeling import maskrcnn_model, retinanet_model

import libra_tf.models.reference_builders  # noqa: F401  (registration)
from libra_tf.experiments import detector_config
from libra_tf.models.heads import roi_shape
from libra_tf.models.reference_aligner import ReferenceROIAligner
from libra_tf.models.reference_detections import (
    ReferenceDenseDetectionGenerator,
    ReferenceDetectionGenerator,
)
from libra_tf.models.reference_heads import without_norm
from libra_tf.models.reference_proposals import ReferenceROIGenerator


def reference_rcnn_parts(
    base: maskrcnn_model.MaskRCNNModel, config: detector_config.MaskRCNNParts
) -> dict[str, Any]:
    """Parts of an R-CNN.

    Args:
        base: what Model Garden built from `config`.
        config: the model's settings.
    """
    parts: dict[str, Any] = {"anchor_form": config.anchor.form}
    if config.rpn_head.is_reference:
        specs = base.decoder.output_specs
        parts["rpn_head"] = without_norm(base.rpn_head, specs)
    if config.roi_aligner.is_reference:
        parts["roi_aligner"] = ReferenceROIAligner(
            min_level=config.min_level,
            max_level=min(config.roi_aligner.max_level, config.max_level),
            crop_size=config.roi_aligner.crop_size,
            sampling_ratio=config.roi_aligner.sampling_ratio,
            finest_scale=config.roi_aligner.finest_scale,
            name="roi_aligner",
        )
    if config.detection_head.is_reference:
        shape = roi_shape(base, base.roi_aligner)
        heads = base.detection_head
        parts["detection_head"] = [without_norm(head, shape) for head in heads]
    clips = config.clip_to_image
    # As the reference where the padding is the reference's.
    detects_inside = clips and not config.fits_each_image
    if config.roi_generator.is_reference:
        settings = base.roi_generator.get_config()
        parts["roi_generator"] = ReferenceROIGenerator(
            **settings,
            drops_empty=clips,
            test_drops_empty=detects_inside,
            autocast=False,
            name="roi_generator",
        )
    if config.detection_generator.is_reference:
        settings = base.detection_generator.get_config()
        parts["detection_generator"] = ReferenceDetectionGenerator(
            **settings, drops_empty=detects_inside
        )
    return parts


def reference_retinanet_parts(
    base: retinanet_model.RetinaNetModel, config: detector_config.RetinaNetParts
) -> dict[str, Any]:
    """Parts of a RetinaNet; see `reference_rcnn_parts`."""
    parts: dict[str, Any] = {"anchor_form": config.anchor.form}
    if config.head.is_reference:
        parts["head"] = without_norm(base.head, base.decoder.output_specs)
    if config.detection_generator.is_reference:
        settings = base.detection_generator.get_config()
        parts["detection_generator"] = ReferenceDenseDetectionGenerator(**settings)
    return parts
