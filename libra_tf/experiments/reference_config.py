"""The parts of a detector that compute what the published PyTorch models compute.

Each part keeps Model Garden's settings and defaults and gains a choice of form:
"model_garden", or "reference", which is what mmdetection's published configs are. The
choices are independent. Together, with `torch_resnet` and `torch_fpn`, they are the
detector whose weights OpenMMLab publishes.
"""

from __future__ import annotations

import dataclasses

from official.modeling import hyperparams
from official.vision.configs import maskrcnn as tfm_maskrcnn
from official.vision.configs import retinanet as tfm_retinanet

from libra_tf.setting import setting

FORMS = ("model_garden", "reference")
_MMDET = "mmdetection, configs/libra_rcnn"


class Formed:
    """A part with a choice of form."""

    form: str

    @property
    def is_reference(self) -> bool:
        """Whether it computes what the published models compute."""
        return self.form == "reference"


@dataclasses.dataclass
class Canvas(Formed, hyperparams.Config):
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
    short_side: int = setting(800, low=1, high=2**16, unit="pixels", source=_MMDET)
    long_side: int = setting(1333, low=1, high=2**16, unit="pixels", source=_MMDET)
    divisor: int = setting(32, low=1, high=1024, unit="pixels", source=_MMDET)


@dataclasses.dataclass
class RPNAnchor(Formed, tfm_maskrcnn.Anchor):
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
class RetinaNetAnchor(Formed, tfm_retinanet.Anchor):
    """Anchors of RetinaNet.

    Attributes:
        form: as of the RPN's anchors.
    """

    form: str = setting("model_garden", choices=FORMS)


@dataclasses.dataclass
class RPNHead(Formed, tfm_maskrcnn.RPNHead):
    """Head of the RPN.

    Attributes:
        form: "reference" has no BatchNorm.
    """

    form: str = setting("model_garden", choices=FORMS)


@dataclasses.dataclass
class DetectionHead(Formed, tfm_maskrcnn.DetectionHead):
    """R-CNN head.

    Attributes:
        form: "reference" has no BatchNorm.
    """

    form: str = setting("model_garden", choices=FORMS)


@dataclasses.dataclass
class RetinaNetHead(Formed, tfm_retinanet.RetinaNetHead):
    """RetinaNet's head.

    Attributes:
        form: "reference" has no BatchNorm.
    """

    form: str = setting("model_garden", choices=FORMS)


@dataclasses.dataclass
class ROIGenerator(Formed, tfm_maskrcnn.ROIGenerator):
    """Proposals.

    Attributes:
        form: "model_garden" suppresses level by level, and a box may shrink without
            limit. "reference" decodes with both clamps, suppresses within the levels in
            one call, and always gives `num_proposals` rows, padded with zeros.
    """

    form: str = setting("model_garden", choices=FORMS)


@dataclasses.dataclass
class ROIAligner(Formed, tfm_maskrcnn.ROIAligner):
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
    sampling_ratio: int = setting(0, low=0, high=64, source=_MMDET)
    finest_scale: int = setting(56, low=1, high=2**16, unit="pixels", source=_MMDET)
    max_level: int = setting(5, low=1, high=12, source=_MMDET)


@dataclasses.dataclass
class RCNNDetectionGenerator(Formed, tfm_maskrcnn.DetectionGenerator):
    """Detections of the R-CNN head.

    Attributes:
        form: "reference" decodes with both clamps, and lets all (RoI, class) pairs
            above the threshold compete within their class; `pre_nms_top_k` is not used.
    """

    form: str = setting("model_garden", choices=FORMS)


@dataclasses.dataclass
class RetinaNetDetectionGenerator(Formed, tfm_retinanet.DetectionGenerator):
    """Detections of RetinaNet.

    Attributes:
        form: "reference" takes the best `pre_nms_top_k` (anchor, class) pairs of each
            level, decodes them with both clamps, and lets them compete within their
            class.
    """

    form: str = setting("model_garden", choices=FORMS)
