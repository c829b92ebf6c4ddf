"""The experiment of a published detector: what its shapes tell, and what they do not.

Thresholds, numbers of candidates, sizes of anchors and the refining level are in no
state_dict; they are those of mmdetection's configs, see
`weights.published_settings`.
"""

from __future__ import annotations

from typing import Any

from libra_tf.errors import UserError
from libra_tf.experiments.saved import get_experiment, override
from libra_tf.weights.architecture import Architecture
from libra_tf.weights.published_settings import ASPECT_RATIOS, published_model

BASES = {
    "faster_rcnn": "libra_fasterrcnn_resnetfpn_coco",
    "retinanet": "libra_retinanet_resnetfpn_coco",
}


def experiment_for(architecture: Architecture, class_names: dict[int, str]) -> Any:
    """Returns the experiment that builds a detector with the published settings.

    Args:
        architecture: of the weights.
        class_names: name by class id, in the order of the outputs; ids from 1, which
            may have gaps.

    Raises:
        UserError: the number of names or of anchors does not fit.
    """
    if len(class_names) != architecture.num_classes:
        raise UserError(
            f"the detector has {architecture.num_classes} classes, but "
            f"{len(class_names)} names are given"
        )
    num_classes = max(class_names) + 1
    names = [class_names.get(i, "") for i in range(1, num_classes)]
    task = {
        "dataset": "",
        "class_names": ["background", *names],
        # Every image has a padded input of its own.
        "validation_data": {"global_batch_size": 1},
    }
    params = get_experiment(BASES[architecture.detector])
    for model in (published_model(architecture.detector), _sizes(architecture)):
        override(params, {"task": {"model": model}}, "the architecture")
    override(params, {"task": task}, "the architecture")
    params.task.model.num_classes = num_classes
    return params


def _sizes(architecture: Architecture) -> dict[str, Any]:
    """Settings of `task.model` that the shapes tell."""
    resnet = {
        "model_id": architecture.depth,
        "base_channels": architecture.base_channels,
        "groups": architecture.groups,
    }
    if architecture.groups > 1:
        resnet["width_per_group"] = architecture.width_per_group
    fpn = {
        "num_filters": architecture.fpn_channels,
        "extra_levels": architecture.extra_levels,
    }
    head_sizes = _rcnn_sizes if architecture.is_two_stage else _retinanet_sizes
    return {
        "backbone": {"torch_resnet": resnet},
        "decoder": {"torch_fpn": fpn},
        "neck": {"refine": architecture.refine},
        "anchor": {"num_scales": _num_scales(architecture)},
        **head_sizes(architecture),
    }


def _num_scales(architecture: Architecture) -> int:
    scales, rest = divmod(architecture.num_anchors, len(ASPECT_RATIOS))
    only_one = architecture.is_two_stage
    if rest or (only_one and scales != 1):
        count = len(ASPECT_RATIOS)
        wanted = count if only_one else f"a multiple of {count}"
        raise UserError(
            f"the detector has {architecture.num_anchors} anchors at each cell, whose "
            f"shapes are not in the file; Libra detectors have {wanted}"
        )
    return scales


def _rcnn_sizes(architecture: Architecture) -> dict[str, Any]:
    return {
        "rpn_head": {"num_filters": architecture.rpn_channels},
        "roi_aligner": {"crop_size": architecture.roi_size},
        "detection_head": {
            "num_fcs": architecture.num_fcs,
            "fc_dims": architecture.fc_channels,
        },
    }


def _retinanet_sizes(architecture: Architecture) -> dict[str, Any]:
    return {
        "head": {
            "num_convs": architecture.head_convs,
            "num_filters": architecture.head_channels,
        }
    }
