"""The settings with which a detector is the one that OpenMMLab publishes.

mmdetection, `configs/libra_rcnn/`. Sizes (depth, channels, classes) come on top.
"""

from __future__ import annotations

import copy

ASPECT_RATIOS = [2.0, 1.0, 0.5]  # width / height; mmdetection's 0.5, 1 and 2
REFERENCE = {"form": "reference"}

_COMMON = {
    "input_size": [None, None, 3],
    "canvas": {**REFERENCE, "short_side": 800, "long_side": 1333, "divisor": 32},
    "backbone": {
        "type": "torch_resnet",
        "torch_resnet": {"model_id": 50, "norm": "fixed_statistics"},
    },
    "frozen_stages": 1,
}
_NECK = {
    "type": "balanced_feature_pyramid",
    "refine": "non_local",
    "refine_level": 4,
}
_FASTER_RCNN = {
    **_COMMON,
    "min_level": 2,
    "max_level": 6,
    "include_mask": False,
    "mask_head": None,
    "mask_sampler": None,
    "mask_roi_aligner": None,
    "decoder": {"type": "torch_fpn", "torch_fpn": {"extra_levels": "max_pool"}},
    "neck": _NECK,
    "anchor": {
        **REFERENCE,
        "num_scales": 1,
        "aspect_ratios": ASPECT_RATIOS,
        "anchor_size": 8.0,
    },
    "rpn_head": {**REFERENCE, "num_convs": 1},
    "detection_head": {
        **REFERENCE,
        "num_convs": 0,
        "num_fcs": 2,
        "fc_dims": 1024,
        "class_agnostic_bbox_pred": False,
    },
    "roi_generator": {
        **REFERENCE,
        "pre_nms_top_k": 2000,
        "num_proposals": 1000,
        "nms_iou_threshold": 0.7,
        "test_pre_nms_top_k": 1000,
        "test_num_proposals": 1000,
        "test_nms_iou_threshold": 0.7,
    },
    "roi_aligner": {
        **REFERENCE,
        "crop_size": 7,
        "sampling_ratio": 0,
        "finest_scale": 56,
        "max_level": 5,
    },
    "detection_generator": {
        **REFERENCE,
        "pre_nms_score_threshold": 0.05,
        "nms_iou_threshold": 0.5,
        "max_num_detections": 100,
    },
}
_RETINANET = {
    **_COMMON,
    "min_level": 3,
    "max_level": 7,
    "decoder": {"type": "torch_fpn", "torch_fpn": {"extra_levels": "on_input"}},
    "neck": _NECK,
    "anchor": {
        **REFERENCE,
        "num_scales": 3,
        "aspect_ratios": ASPECT_RATIOS,
        "anchor_size": 4.0,
    },
    "head": {**REFERENCE, "num_convs": 4},
    "detection_generator": {
        **REFERENCE,
        "pre_nms_top_k": 1000,
        "pre_nms_score_threshold": 0.05,
        "nms_iou_threshold": 0.5,
        "max_num_detections": 100,
    },
}
MODELS = {"faster_rcnn": _FASTER_RCNN, "retinanet": _RETINANET}


def published_model(detector: str) -> dict:
    """Returns overrides of `task.model` for one of `MODELS`, of full size."""
    return copy.deepcopy(MODELS[detector])
