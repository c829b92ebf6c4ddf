"""The parts of a detector that compute what the published PyTorch models compute.

Each part keeps Model Garden's settings and defaults and gains a choice of form:
"model_garden", or "reference", which is what mmdetection's published configs are. The
choices are independent. Together, with `torch_resnet` and `torch_fpn`, they are the
detector whose weights OpenMMLab publishes.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

from official.modeling import hyperparams
from official.vision.configs import backbones, decoders
from official.vision.configs import maskrcnn as tfm_maskrcnn
from official.vision.configs import retinanet as tfm_retinanet

from libra_tf.layers.torch_fpn import EXTRA_LEVELS
from libra_tf.layers.torch_resnet import NORMS, STAGE_BLOCKS
from libra_tf.setting import setting

FORMS = ("model_garden", "reference")
_MMDET = "mmdetection, configs/libra_rcnn"


@dataclasses.dataclass
class TorchResNet(hyperparams.Config):
    """ResNet or ResNeXt of bottlenecks, as torchvision and mmdetection compute it.

    Stride 2 is in the 3x3 convolution; convolutions and the max pooling of the stem
    pad both sides alike; BatchNorm has epsilon 1e-5.

    Attributes:
        model_id: depth.
        base_channels: channels of the stem, and inside the first stage without groups.
        groups: of the 3x3 convolutions; 1 is a ResNet.
        width_per_group: channels of a group in the first stage, for groups above 1.
            ResNeXt-101-64x4d has 64 groups of 4.
        norm: "fixed" as in training on ImageNet, nothing changes;
            "fixed_statistics" trains scale and offset only (mmdetection's `norm_eval`);
            "batch" is plain BatchNorm.
    """

    model_id: int = setting(50, choices=tuple(STAGE_BLOCKS), unit="layers")
    base_channels: int = setting(64, low=1, unit="channels")
    groups: int = setting(1, low=1)
    width_per_group: int = setting(4, low=1, unit="channels")
    norm: str = setting("fixed_statistics", choices=NORMS)


@dataclasses.dataclass
class Backbone(backbones.Backbone):
    """Model Garden's choice of backbones, and `torch_resnet`."""

    torch_resnet: TorchResNet = dataclasses.field(default_factory=TorchResNet)

    @property
    def is_resnet(self) -> bool:
        """Whether it has the stages that `frozen_stages` counts."""
        return self.type in ("resnet", "torch_resnet")

    @property
    def keeps_norm(self) -> bool:
        """Whether its BatchNorm, or a part of it, stays as it is initialised."""
        if self.type == "torch_resnet":
            return self.torch_resnet.norm != "batch"
        return self.type == "resnet" and not self.resnet.bn_trainable

    @property
    def norm_switch(self) -> str:
        """The setting of a ResNet that lets its BatchNorm move, and its value."""
        if self.type == "torch_resnet":
            return "torch_resnet.norm to batch"
        return "resnet.bn_trainable to true"


@dataclasses.dataclass
class TorchFPN(hyperparams.Config):
    """FPN of its paper: convolutions with bias, no norm, nearest upsampling.

    Attributes:
        num_filters: channels of all levels.
        extra_levels: how the levels above the backbone's are made:
            "max_pool" takes every second cell of the level below; the others put a 3x3
            convolution of stride 2 on the last level of the backbone ("on_input"), on
            its lateral ("on_lateral") or on the level below ("on_output").
        relu_before_extra_convs: ReLU between the extra convolutions.
    """

    num_filters: int = setting(256, low=1, unit="channels")
    extra_levels: str = setting("max_pool", choices=EXTRA_LEVELS)
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
            image has a padded input of its own, and `input_size` is [null, null, 3] or
            that of training.
        short_side: at most this long is the shorter side of a resized image.
        long_side: at most this long is the longer side.
        divisor: height and width of the padded input are multiples of this.
    """

    form: str = setting("model_garden", choices=FORMS)
    short_side: int = setting(800, low=1, unit="pixels", source=_MMDET)
    long_side: int = setting(1333, low=1, unit="pixels", source=_MMDET)
    divisor: int = setting(32, low=1, unit="pixels", source=_MMDET)


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

    form: str = setting("model_garden", choices=FORMS)


@dataclasses.dataclass
class RetinaNetAnchor(tfm_retinanet.Anchor):
    """Anchors of RetinaNet.

    Attributes:
        form: as of the RPN's anchors.
    """

    form: str = setting("model_garden", choices=FORMS)


@dataclasses.dataclass
class RPNHead(tfm_maskrcnn.RPNHead):
    """Head of the RPN.

    Attributes:
        form: "reference" has no BatchNorm.
    """

    form: str = setting("model_garden", choices=FORMS)


@dataclasses.dataclass
class DetectionHead(tfm_maskrcnn.DetectionHead):
    """R-CNN head.

    Attributes:
        form: "reference" has no BatchNorm.
    """

    form: str = setting("model_garden", choices=FORMS)


@dataclasses.dataclass
class RetinaNetHead(tfm_retinanet.RetinaNetHead):
    """RetinaNet's head.

    Attributes:
        form: "reference" has no BatchNorm.
    """

    form: str = setting("model_garden", choices=FORMS)


@dataclasses.dataclass
class ROIGenerator(tfm_maskrcnn.ROIGenerator):
    """Proposals.

    Attributes:
        form: "model_garden" suppresses level by level, and a box may shrink without
            limit. "reference" decodes with both clamps, suppresses within the levels in
            one call, and always gives `num_proposals` rows, padded with zeros.
    """

    form: str = setting("model_garden", choices=FORMS)


@dataclasses.dataclass
class ROIAligner(tfm_maskrcnn.ROIAligner):
    """RoIAlign.

    Attributes:
        form: "model_garden" takes two samples a side of each cell, on the feature map
            of the padded input. "reference" is mmcv's RoIAlign with `aligned`.
        sampling_ratio: of "reference": samples a side of each cell; 0 takes
            ceil(RoI / crop_size) of them, for each RoI.
        finest_scale: of "reference": a RoI of this geometric size times 2**k belongs to
            the k-th level.
        max_level: of "reference": coarsest level that RoIs are cut from.
    """

    form: str = setting("model_garden", choices=FORMS)
    sampling_ratio: int = setting(0, low=0, source=_MMDET)
    finest_scale: int = setting(56, low=1, unit="pixels", source=_MMDET)
    max_level: int = setting(5, source=_MMDET)


@dataclasses.dataclass
class RCNNDetectionGenerator(tfm_maskrcnn.DetectionGenerator):
    """Detections of the R-CNN head.

    Attributes:
        form: "reference" decodes with both clamps, and lets all (RoI, class) pairs
            above the threshold compete within their class; `pre_nms_top_k` is not used.
    """

    form: str = setting("model_garden", choices=FORMS)


@dataclasses.dataclass
class RetinaNetDetectionGenerator(tfm_retinanet.DetectionGenerator):
    """Detections of RetinaNet.

    Attributes:
        form: "reference" takes the best `pre_nms_top_k` (anchor, class) pairs of each
            level, decodes them with both clamps, and lets them compete within their
            class.
    """

    form: str = setting("model_garden", choices=FORMS)


class _Leveled(Protocol):
    input_size: list[int | None]
    max_level: int

    @property
    def stride(self) -> int: ...


@dataclasses.dataclass
class DetectorParts:
    """What every detector has, with `torch_resnet`, `torch_fpn` and images of any size.

    Attributes:
        input_size: [height, width, 3]; [null, null, 3] takes images of any size in
            evaluation and inference.
        canvas: the padded input of evaluation and inference.
    """

    input_size: list[int | None] = dataclasses.field(default_factory=list)
    canvas: Canvas = dataclasses.field(default_factory=Canvas)
    backbone: Backbone = dataclasses.field(
        default_factory=lambda: Backbone(type="resnet")
    )
    decoder: Decoder = dataclasses.field(default_factory=lambda: Decoder(type="fpn"))

    @property
    def takes_any_size(self) -> bool:
        """Whether `input_size` says that images have any size."""
        return list(self.input_size) == [None, None, 3]

    @property
    def has_one_size(self) -> bool:
        """Whether `input_size` is a height, a width and three channels."""
        sizes = [n for n in self.input_size if n is not None and n > 0]
        return len(self.input_size) == len(sizes) == 3 and sizes[2] == 3

    @property
    def stride(self: _Leveled) -> int:
        """Pixels of the input in a cell of the coarsest level."""
        return 2**self.max_level

    @property
    def next_size(self: _Leveled) -> list[int]:
        """The smallest height and width that fit `input_size` and the stride."""
        return [-(-n // self.stride) * self.stride for n in self.input_size[:2] if n]

    @property
    def fits_each_image(self) -> bool:
        """Whether every image has a padded input of its own outside of training."""
        return self.canvas.form == "reference"

    @property
    def built_size(self) -> list[int | None]:
        """[height, width, 3] that the detector is built for.

        None where each image has its own size; training has one all the same.
        """
        return [None, None, 3] if self.fits_each_image else list(self.input_size)


@dataclasses.dataclass
class MaskRCNNParts(DetectorParts, tfm_maskrcnn.MaskRCNN):
    """Model Garden's Mask R-CNN with a choice of form for each part."""

    anchor: RPNAnchor = dataclasses.field(default_factory=RPNAnchor)
    rpn_head: RPNHead = dataclasses.field(default_factory=RPNHead)
    detection_head: DetectionHead = dataclasses.field(default_factory=DetectionHead)
    roi_generator: ROIGenerator = dataclasses.field(default_factory=ROIGenerator)
    roi_aligner: ROIAligner = dataclasses.field(default_factory=ROIAligner)
    detection_generator: RCNNDetectionGenerator = dataclasses.field(
        default_factory=RCNNDetectionGenerator
    )

    @property
    def part_of_one_size(self) -> str:
        """Name of a part that takes images of one size only; "" if none does."""
        return _stock_part(
            anchor=self.anchor.form,
            roi_generator=self.roi_generator.form,
            roi_aligner=self.roi_aligner.form,
            detection_generator=self.detection_generator.form,
        )


@dataclasses.dataclass
class RetinaNetParts(DetectorParts, tfm_retinanet.RetinaNet):
    """Model Garden's RetinaNet with a choice of form for each part."""

    anchor: RetinaNetAnchor = dataclasses.field(default_factory=RetinaNetAnchor)
    head: RetinaNetHead = dataclasses.field(default_factory=RetinaNetHead)
    detection_generator: RetinaNetDetectionGenerator = dataclasses.field(
        default_factory=RetinaNetDetectionGenerator
    )

    @property
    def include_mask(self) -> bool:
        """Whether it segments: no."""
        return False

    @property
    def part_of_one_size(self) -> str:
        """See `MaskRCNNParts`."""
        return _stock_part(
            anchor=self.anchor.form, detection_generator=self.detection_generator.form
        )


def _stock_part(**forms: str) -> str:
    return next((name for name, form in forms.items() if form == "model_garden"), "")
