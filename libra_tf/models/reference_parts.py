"""The parts of an R-CNN whose form is "reference"."""

from __future__ import annotations

from typing import Any

import tf_keras
from official.vision.modeling import maskrcnn_model

import libra_tf.models.torch_parts  # noqa: F401  (registration)
from libra_tf.experiments import reference_config
from libra_tf.models.heads import roi_shape
from libra_tf.models.reference_aligner import ReferenceROIAligner
from libra_tf.models.reference_detections import ReferenceDetectionGenerator
from libra_tf.models.reference_heads import without_norm
from libra_tf.models.reference_proposals import ReferenceROIGenerator


def use_reference_parts(
    base: maskrcnn_model.MaskRCNNModel, config: reference_config.MaskRCNNParts
) -> dict[str, Any]:
    """Returns the parts to swap, by the names of the model's arguments.

    Args:
        base: what Model Garden built from `config`.
        config: the model's settings.
    """
    parts: dict[str, Any] = {"anchor_form": config.anchor.form}
    if config.rpn_head.form == "reference":
        parts["rpn_head"] = head = without_norm(base.rpn_head)
        specs = base.decoder.output_specs
        head({level: tf_keras.Input(shape[1:]) for level, shape in specs.items()})
    if config.roi_aligner.form == "reference":
        parts["roi_aligner"] = ReferenceROIAligner(
            min_level=config.min_level,
            max_level=min(config.roi_aligner.max_level, config.max_level),
            crop_size=config.roi_aligner.crop_size,
            sampling_ratio=config.roi_aligner.sampling_ratio,
            finest_scale=config.roi_aligner.finest_scale,
            name="roi_aligner",
        )
    if config.detection_head.form == "reference":
        shape = roi_shape(base, base.roi_aligner)
        parts["detection_head"] = [without_norm(head) for head in base.detection_head]
        for head in parts["detection_head"]:
            head(tf_keras.Input(shape[1:]))
    if config.roi_generator.form == "reference":
        settings = base.roi_generator.get_config()
        parts["roi_generator"] = ReferenceROIGenerator(
            **settings, autocast=False, name="roi_generator"
        )
    if config.detection_generator.form == "reference":
        settings = base.detection_generator.get_config()
        parts["detection_generator"] = ReferenceDetectionGenerator(**settings)
    return parts
