"""The parts of a detector that compute what the published PyTorch models compute.

Each part keeps Model Garden's settings and defaults and gains a choice of form:
"model_garden", or "reference", which is what mmdetection's published configs are. The
choices are independent. Together, with `torch_resnet` and `torch_fpn`, they are the
detector whose weights OpenMMLab publishes.
"""

from __future__ import annotations

import dataclasses

from official.modeling import hyperparams
from official.vision.configs import backbones, decoders
from official.vision.configs import maskrcnn as tfm_maskrcnn
from official.vision.configs import retinanet as tfm_retinanet

FORMS = ("model_garden", "reference")
NORMS = ("fixed", "fixed_statistics", "batch")
EXTRA_LEVELS = ("max_pool", "on_input", "on_lateral", "on_output")
DEPTHS = (50, 101, 152)


@dataclasses.dataclass
class TorchResNet(hyperparams.Config):
    """ResNet or ResNeXt of bottlenecks, as torchvision and mmdetection compute it.

    Stride 2 is in the 3x3 convolution; convolutions and the max pooling of the stem
    pad both sides alike; BatchNorm has epsilon 1e-5.

    Attributes:
        model_id: depth, one of `DEPTHS`.
        base_channels: channels of the stem, and inside the first stage without groups.
        groups: of the 3x3 convolutions; 1 is a ResNet.
        width_per_group: channels of a group in the first stage, for groups above 1.
            ResNeXt-101-64x4d has 64 groups of 4.
        norm: of NORMS. "fixed" as in training on ImageNet, nothing changes;
            "fixed_statistics" trains scale and offset only (mmdetection's `norm_eval`);
            "batch" is plain BatchNorm.
    """

    model_id: int = 50
    base_channels: int = 64
    groups: int = 1
    width_per_group: int = 4
    norm: str = "fixed_statistics"


@dataclasses.dataclass
class Backbone(backbones.Backbone):
    """Model Garden's choice of backbones, and `torch_resnet`."""

    torch_resnet: TorchResNet = dataclasses.field(default_factory=TorchResNet)


@dataclasses.dataclass
class TorchFPN(hyperparams.Config):
    """FPN of its paper: convolutions with bias, no norm, nearest upsampling.

    Attributes:
        num_filters: channels of all levels.
        extra_levels: how the levels above the backbone's are made, one of EXTRA_LEVELS:
            "max_pool" takes every second cell of the level below; the others put a 3x3
            convolution of stride 2 on the last level of the backbone ("on_input"), on
            its lateral ("on_lateral") or on the level below ("on_output").
        relu_before_extra_convs: ReLU between the extra convolutions.
    """

    num_filters: int = 256
    extra_levels: str = "max_pool"
    relu_before_extra_convs: bool = False


@dataclasses.dataclass
class Decoder(decoders.Decoder):
    """Model Garden's choice of decoders, and `torch_fpn`."""

    torch_fpn: TorchFPN = dataclasses.field(default_factory=TorchFPN)


@dataclasses.dataclass
class Canvas(hyperparams.Config):
    """How an image becomes the input of the detector in evaluation and inference.

    Attributes:
        form: "model_garden" fits the image into `input_size`. "reference" resizes it
            with its ratio kept until it reaches `short_side` or `long_side`, rounds to
            whole grey values, and pads below and right to multiples of `divisor`: every
            image has a canvas of its own, and `input_size` is [null, null, 3] or the
            canvas of training.
        short_side: pixels.
        long_side: pixels.
        divisor: pixels.
    """

    form: str = "model_garden"
    short_side: int = 800
    long_side: int = 1333
    divisor: int = 32


@dataclasses.dataclass
class RPNAnchor(tfm_maskrcnn.Anchor):
    """Anchors of the RPN.

    Attributes:
        form: "model_garden" centres them in the cells and lists all ratios of a scale,
            then the next scale. "reference" centres them on the upper left corners of
            the cells, i * 2**level, and lists all scales of a ratio. Ratios are width /
            height in both, the inverse of mmdetection's: its [0.5, 1, 2] is [2, 1, 0.5]
            here.
    """

    form: str = "model_garden"


@dataclasses.dataclass
class RetinaNetAnchor(tfm_retinanet.Anchor):
    """Anchors of RetinaNet; see `RPNAnchor`."""

    form: str = "model_garden"


@dataclasses.dataclass
class RPNHead(tfm_maskrcnn.RPNHead):
    """Head of the RPN.

    Attributes:
        form: "reference" has no BatchNorm.
    """

    form: str = "model_garden"


@dataclasses.dataclass
class DetectionHead(tfm_maskrcnn.DetectionHead):
    """R-CNN head.

    Attributes:
        form: "reference" has no BatchNorm.
    """

    form: str = "model_garden"


@dataclasses.dataclass
class RetinaNetHead(tfm_retinanet.RetinaNetHead):
    """RetinaNet's head.

    Attributes:
        form: "reference" has no BatchNorm.
    """

    form: str = "model_garden"


@dataclasses.dataclass
class ROIGenerator(tfm_maskrcnn.ROIGenerator):
    """Proposals.

    Attributes:
        form: "model_garden" suppresses level by level, and a box may shrink without
            limit. "reference" decodes with both clamps, suppresses within the levels in
            one call, and always gives `num_proposals` rows, padded with zeros.
    """

    form: str = "model_garden"


@dataclasses.dataclass
class ROIAligner(tfm_maskrcnn.ROIAligner):
    """RoIAlign.

    Attributes:
        form: "model_garden" takes two samples a side of each cell, on the feature map
            of the padded canvas. "reference" is mmcv's RoIAlign with `aligned`.
        sampling_ratio: of "reference": samples a side of each cell; 0 takes
            ceil(RoI / crop_size) of them, for each RoI.
        finest_scale: of "reference": a RoI of this geometric size times 2**k belongs to
            the k-th level.
        max_level: of "reference": coarsest level that RoIs are cut from.
    """

    form: str = "model_garden"
    sampling_ratio: int = 0
    finest_scale: int = 56
    max_level: int = 5


@dataclasses.dataclass
class RCNNDetectionGenerator(tfm_maskrcnn.DetectionGenerator):
    """Detections of the R-CNN head.

    Attributes:
        form: "reference" decodes with both clamps, and lets all (RoI, class) pairs
            above the threshold compete within their class; `pre_nms_top_k` is not used.
    """

    form: str = "model_garden"


@dataclasses.dataclass
class RetinaNetDetectionGenerator(tfm_retinanet.DetectionGenerator):
    """Detections of RetinaNet.

    Attributes:
        form: "reference" takes the best `pre_nms_top_k` (anchor, class) pairs of each
            level, decodes them with both clamps, and lets them compete within their
            class.
    """

    form: str = "model_garden"


@dataclasses.dataclass
class MaskRCNNParts(tfm_maskrcnn.MaskRCNN):
    """Model Garden's Mask R-CNN with a choice of form for each part.

    Attributes:
        input_size: [height, width, 3]; [null, null, 3] takes images of any size in
            evaluation and inference.
        canvas: of evaluation and inference.
    """

    input_size: list[int | None] = dataclasses.field(default_factory=list)
    canvas: Canvas = dataclasses.field(default_factory=Canvas)
    anchor: RPNAnchor = dataclasses.field(default_factory=RPNAnchor)
    backbone: Backbone = dataclasses.field(
        default_factory=lambda: Backbone(type="resnet")
    )
    decoder: Decoder = dataclasses.field(default_factory=lambda: Decoder(type="fpn"))
    rpn_head: RPNHead = dataclasses.field(default_factory=RPNHead)
    detection_head: DetectionHead = dataclasses.field(default_factory=DetectionHead)
    roi_generator: ROIGenerator = dataclasses.field(default_factory=ROIGenerator)
    roi_aligner: ROIAligner = dataclasses.field(default_factory=ROIAligner)
    detection_generator: RCNNDetectionGenerator = dataclasses.field(
        default_factory=RCNNDetectionGenerator
    )


@dataclasses.dataclass
class RetinaNetParts(tfm_retinanet.RetinaNet):
    """Model Garden's RetinaNet with a choice of form for each part.

    Attributes:
        input_size: [height, width, 3]; [null, null, 3] takes images of any size in
            evaluation and inference.
        canvas: of evaluation and inference.
    """

    input_size: list[int | None] = dataclasses.field(default_factory=list)
    canvas: Canvas = dataclasses.field(default_factory=Canvas)
    anchor: RetinaNetAnchor = dataclasses.field(default_factory=RetinaNetAnchor)
    backbone: Backbone = dataclasses.field(
        default_factory=lambda: Backbone(type="resnet")
    )
    decoder: Decoder = dataclasses.field(default_factory=lambda: Decoder(type="fpn"))
    head: RetinaNetHead = dataclasses.field(default_factory=RetinaNetHead)
    detection_generator: RetinaNetDetectionGenerator = dataclasses.field(
        default_factory=RetinaNetDetectionGenerator
    )
