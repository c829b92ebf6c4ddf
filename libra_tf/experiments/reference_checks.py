"""Which forms of a detector's parts go together, see `reference_config`."""

from __future__ import annotations

from typing import Any

from libra_tf.errors import UserError
from libra_tf.experiments import reference_config as reference
from libra_tf.experiments.ranges import one_of, positive

_RCNN_PARTS = (
    "anchor",
    "rpn_head",
    "detection_head",
    "roi_generator",
    "roi_aligner",
    "detection_generator",
)
_RETINANET_PARTS = ("anchor", "head", "detection_generator")
# Parts that Model Garden makes for one size of image.
_ONE_SIZE = ("anchor", "roi_generator", "roi_aligner", "detection_generator")
_RESIZABLE_NECKS = ("none", "balanced_feature_pyramid")


def check_forms(task: Any, enable_xla: bool = False) -> None:
    """Raises `UserError` for the first setting that is wrong, or fits no other.

    Args:
        task: settings of the task.
        enable_xla: whether training steps are to be compiled.
    """
    model = task.model
    parts = _RCNN_PARTS if hasattr(model, "rpn_head") else _RETINANET_PARTS
    for part in (*parts, "canvas"):
        form = getattr(model, part).form
        one_of(f"task.model.{part}.form", form, reference.FORMS)
    _check_backbone(model)
    _check_decoder(model)
    _check_detections(task)
    if model.canvas.form == "reference":
        _check_canvas(model)
    if "roi_aligner" in parts:
        aligner, path = model.roi_aligner, "task.model.roi_aligner"
        positive(f"{path}.sampling_ratio", aligner.sampling_ratio, zero=True)
        positive(f"{path}.finest_scale", aligner.finest_scale)
        if enable_xla and aligner.form == "reference":
            raise UserError(
                f"{path}.form is 'reference', whose windows have sizes that XLA cannot "
                "know; set runtime.enable_xla to false"
            )


def _check_backbone(model: Any) -> None:
    if model.backbone.type != "torch_resnet":
        return
    resnet, path = model.backbone.torch_resnet, "task.model.backbone.torch_resnet"
    one_of(f"{path}.model_id", resnet.model_id, reference.DEPTHS)
    one_of(f"{path}.norm", resnet.norm, reference.NORMS)
    for name in ("base_channels", "groups", "width_per_group"):
        positive(f"{path}.{name}", getattr(resnet, name))


def _check_decoder(model: Any) -> None:
    if model.decoder.type != "torch_fpn":
        return
    fpn, path = model.decoder.torch_fpn, "task.model.decoder.torch_fpn"
    one_of(f"{path}.extra_levels", fpn.extra_levels, reference.EXTRA_LEVELS)
    positive(f"{path}.num_filters", fpn.num_filters)


def _check_detections(task: Any) -> None:
    generator = task.model.detection_generator
    if generator.form != "reference":
        return
    path = "task.model.detection_generator"
    if generator.soft_nms_sigma or getattr(generator, "use_class_agnostic_nms", False):
        raise UserError(
            f"{path}.form is 'reference', which suppresses class by class; switch "
            "soft_nms_sigma and use_class_agnostic_nms off"
        )
    if hasattr(task.model, "rpn_head"):
        return
    head = task.model.head
    if head.attribute_heads or generator.return_decoded or not generator.apply_nms:
        raise UserError(
            f"{path}.form is 'reference', which gives detections only: no "
            "task.model.head.attribute_heads, no return_decoded, and apply_nms"
        )


def _check_canvas(model: Any) -> None:
    canvas, path = model.canvas, "task.model.canvas"
    for name in ("short_side", "long_side", "divisor"):
        positive(f"{path}.{name}", getattr(canvas, name))
    if canvas.short_side > canvas.long_side:
        raise UserError(
            f"{path}.short_side is {canvas.short_side}, above long_side, "
            f"{canvas.long_side}"
        )
    why = f"{path}.form is 'reference', so that images have any size"
    for part in _ONE_SIZE:
        if hasattr(model, part) and getattr(model, part).form != "reference":
            raise UserError(f"{why}; set task.model.{part}.form to 'reference' too")
    if model.decoder.type != "torch_fpn" or model.neck.type not in _RESIZABLE_NECKS:
        raise UserError(
            f"{why}; that needs task.model.decoder.type torch_fpn and "
            f"task.model.neck.type {' or '.join(_RESIZABLE_NECKS)}"
        )
    if getattr(model, "include_mask", False):
        raise UserError(f"{why}; Model Garden's masks need one size of image")
