"""Which detector a state_dict belongs to, told from its names and shapes.

Each size is told by the first weight that has it; whether the others agree, and whether
all are there, shows when they are put beside the variables of the detector.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TypedDict

from libra_tf.layers.torch_resnet import STAGE_BLOCKS
from libra_tf.weights.shape_reader import ShapeReader, Shapes

_FASTER_RCNN, _RETINANET = "faster_rcnn", "retinanet"
_COORDINATES = 4
_ROI_SIZE = 7  # where the weight that tells it is missing
_LEVELS = 5
_NUM_FCS, _HEAD_CONVS = 2, 4


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A Libra detector, as far as shapes tell.

    Attributes:
        detector: "faster_rcnn" or "retinanet".
        depth: of the ResNet or ResNeXt, see `STAGE_BLOCKS`.
        base_channels: of the stem, 64 in the published models.
        groups: of the 3x3 convolutions; 1 is a ResNet.
        width_per_group: channels of one group in the first stage (64x4d: 4).
        fpn_channels: of all levels.
        extra_levels: how levels above the backbone's are made: "max_pool" without
            weights, "on_input" by convolutions of the last backbone level, or
            "on_output"; a file for "on_lateral" looks the same as the last and is taken
            for it.
        refine: of the balanced feature pyramid: "non_local" or "conv".
        num_classes: without background.
        num_anchors: at each cell.
        rpn_channels: of the RPN's convolution; 0 for RetinaNet.
        fc_channels: of the fully connected layers; 0 for RetinaNet.
        num_fcs: how many of them; 0 for RetinaNet.
        roi_size: cells along a side of a RoI; 0 for RetinaNet.
        head_channels: of RetinaNet's towers; 0 for Faster R-CNN.
        head_convs: convolutions of each tower; 0 for Faster R-CNN.
    """

    detector: str
    depth: int
    base_channels: int
    groups: int
    width_per_group: int
    fpn_channels: int
    extra_levels: str
    refine: str
    num_classes: int
    num_anchors: int
    rpn_channels: int = 0
    fc_channels: int = 0
    num_fcs: int = 0
    roi_size: int = 0
    head_channels: int = 0
    head_convs: int = 0

    @property
    def is_two_stage(self) -> bool:
        """Whether it is a Faster R-CNN."""
        return self.detector == _FASTER_RCNN

    def __str__(self) -> str:
        name = "Libra Faster R-CNN" if self.is_two_stage else "Libra RetinaNet"
        backbone = f"ResNet-{self.depth}"
        if self.groups > 1:
            backbone = f"ResNeXt-{self.depth} {self.groups}x{self.width_per_group}d"
        if self.base_channels != 64:
            backbone += f" of {self.base_channels} channels"
        return (
            f"{name}, {backbone}, FPN of {self.fpn_channels} channels, "
            f"refinement {self.refine}, {self.num_classes} classes"
        )


def tell_architecture(shapes: Shapes, source: str) -> Architecture:
    """Returns the detector that has weights of these shapes.

    Args:
        shapes: by the names of `names.detector_names`.
        source: the file, for messages.

    Raises:
        UserError: it is no Libra Faster R-CNN or RetinaNet, or it cannot be told which.
    """
    reader = ShapeReader(shapes, source)
    detector = _detector(reader)
    is_two_stage = detector == _FASTER_RCNN
    backbone, neck = _backbone(reader), _neck(reader, is_two_stage)
    if is_two_stage:
        heads = _rcnn(reader, neck["fpn_channels"])
        return Architecture(detector, **backbone, **neck, **heads)
    return Architecture(detector, **backbone, **neck, **_retinanet(reader))


class _Backbone(TypedDict):
    depth: int
    base_channels: int
    groups: int
    width_per_group: int


class _Neck(TypedDict):
    fpn_channels: int
    extra_levels: str
    refine: str


class _RCNNHeads(TypedDict):
    num_classes: int
    num_anchors: int
    rpn_channels: int
    fc_channels: int
    num_fcs: int
    roi_size: int


class _RetinaNetHead(TypedDict):
    num_classes: int
    num_anchors: int
    head_channels: int
    head_convs: int


def _detector(reader: ShapeReader) -> str:
    kinds = {
        _FASTER_RCNN: reader.names(r"rpn_head\.|roi_head\.bbox_head\."),
        _RETINANET: reader.names(r"bbox_head\.retina_"),
    }
    found = [kind for kind, names in kinds.items() if names]
    if len(found) != 1:
        has = "heads of both" if found else "no rpn_head, roi_head or retina_cls"
        raise reader.refuse(
            f"neither a Libra Faster R-CNN nor a Libra RetinaNet: it has {has}"
        )
    if not reader.names(r"neck\.0\."):
        raise reader.refuse(
            "not a Libra detector: it has no FPN with a balanced feature pyramid "
            "behind it (neck.0 and neck.1)"
        )
    return found[0]


def _backbone(reader: ShapeReader) -> _Backbone:
    blocks = tuple(
        reader.count(rf"backbone\.layer{stage}\.(\d+)\.") for stage in range(1, 5)
    )
    depth = next((d for d, each in STAGE_BLOCKS.items() if each == blocks), None)
    if depth is None or not reader.names(r"backbone\.layer1\.\d+\.conv3\."):
        known = ", ".join(f"ResNet-{d}" for d in STAGE_BLOCKS)
        raise reader.refuse(
            f"its backbone has {blocks} residual blocks, as none of {known} with "
            "bottlenecks"
        )
    stem = reader.size(("backbone.conv1.weight", 0), ("backbone.bn1.weight", 0))
    kernels = [f"backbone.layer1.{k}.conv2.weight" for k in range(blocks[0])]
    width = reader.size(*((name, 0) for name in kernels))
    inside = reader.size(*((name, 1) for name in kernels))
    groups = reader.divide(kernels[0], width, inside)
    return {
        "depth": depth,
        "base_channels": stem,
        "groups": groups,
        "width_per_group": inside,
    }


def _neck(reader: ShapeReader, is_two_stage: bool) -> _Neck:
    laterals = reader.count(r"neck\.0\.lateral_convs\.(\d+)\.")
    wanted = 4 if is_two_stage else 3
    if laterals != wanted:
        raise reader.refuse(
            f"its FPN has {laterals} lateral convolutions, a Libra detector's {wanted}"
        )
    names = [f"neck.0.lateral_convs.{k}.conv" for k in range(laterals)]
    channels = reader.size(*((f"{name}.weight", 0) for name in names))
    convs = reader.count(r"neck\.0\.fpn_convs\.(\d+)\.")
    extra_levels = "max_pool"
    if convs > laterals:
        last = (f"{names[-1]}.weight", 1)
        first = (f"neck.0.fpn_convs.{laterals}.conv.weight", 1)
        # One of them missing, they are taken for equal, as in the published detector.
        on_input = reader.size(first, last) == reader.size(last, first)
        extra_levels = "on_input" if on_input else "on_output"
    allowed = (4, _LEVELS) if is_two_stage else (_LEVELS,)
    if convs not in allowed:
        raise reader.refuse(
            f"its FPN has {convs} output convolutions, a Libra detector's "
            f"{' or '.join(map(str, allowed))}"
        )
    refine = "non_local"
    if reader.names(r"neck\.1\.refine\.conv\."):
        refine = "conv"
    elif not reader.names(r"neck\.1\.refine\.\w+\.conv\."):
        raise reader.refuse(
            "its balanced feature pyramid has no refinement (neck.1.refine); a Libra "
            "detector's has"
        )
    return {"fpn_channels": channels, "extra_levels": extra_levels, "refine": refine}


def _rcnn(reader: ShapeReader, channels: int) -> _RCNNHeads:
    head = "roi_head.bbox_head"
    deltas = reader.outputs("rpn_head.rpn_reg")
    num_fcs = reader.count(r"roi_head\.bbox_head\.shared_fcs\.(\d+)\.")
    if num_fcs != _NUM_FCS:
        raise reader.refuse(
            f"its R-CNN head has {num_fcs} fully connected layers (shared_fcs), a "
            f"Libra detector's {_NUM_FCS}"
        )
    fc_channels = reader.outputs(f"{head}.shared_fcs.0")
    roi_size = _ROI_SIZE
    first = f"{head}.shared_fcs.0.weight"
    if first in reader.shapes:
        cells = reader.divide(first, reader.size((first, 1)), channels)
        roi_size = math.isqrt(cells)
        if roi_size**2 != cells:
            raise reader.refuse(f"{first} takes {cells} cells, which are no square")
    classes = reader.outputs(f"{head}.fc_cls") - 1
    if classes < 1:
        raise reader.refuse(f"{head}.fc_cls has no class beside the background")
    return {
        "num_classes": classes,
        "num_anchors": reader.divide("rpn_head.rpn_reg", deltas, _COORDINATES),
        "rpn_channels": reader.outputs("rpn_head.rpn_conv"),
        "fc_channels": fc_channels,
        "num_fcs": num_fcs,
        "roi_size": roi_size,
    }


def _retinanet(reader: ShapeReader) -> _RetinaNetHead:
    convs = [reader.count(rf"bbox_head\.{t}_convs\.(\d+)\.") for t in ("cls", "reg")]
    if max(convs) != _HEAD_CONVS:
        raise reader.refuse(
            f"its head has towers of {max(convs)} convolutions (cls_convs, reg_convs), "
            f"a Libra detector's of {_HEAD_CONVS}"
        )
    deltas = reader.outputs("bbox_head.retina_reg")
    anchors = reader.divide("bbox_head.retina_reg", deltas, _COORDINATES)
    scores = reader.outputs("bbox_head.retina_cls")
    return {
        "num_classes": reader.divide("bbox_head.retina_cls", scores, anchors),
        "num_anchors": anchors,
        "head_channels": reader.outputs("bbox_head.cls_convs.0.conv"),
        "head_convs": max(convs),
    }
