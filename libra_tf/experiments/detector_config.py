"""Model Garden's detectors, with a choice of form for each part.

The seams of the methods are added in `model_config`.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

from official.vision.configs import maskrcnn as tfm_maskrcnn
from official.vision.configs import retinanet as tfm_retinanet

from libra_tf.experiments.backbone_config import Backbone, Decoder
from libra_tf.experiments.reference_config import (
    Canvas,
    DetectionHead,
    Formed,
    RCNNDetectionGenerator,
    RetinaNetAnchor,
    RetinaNetDetectionGenerator,
    RetinaNetHead,
    ROIAligner,
    ROIGenerator,
    RPNAnchor,
    RPNHead,
)


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
        clip_to_image: the padding of the input is no part of the picture. Proposals and
            detections are clipped to the resized picture, what has no area left is
            dropped before the best are taken, and anchors of cells that begin outside
            are no negatives. Without it all is as in Model Garden, which clips to
            `input_size`.
    """

    input_size: list[int | None] = dataclasses.field(default_factory=list)
    canvas: Canvas = dataclasses.field(default_factory=Canvas)
    clip_to_image: bool = False
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
        return self.canvas.is_reference

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
            anchor=self.anchor,
            roi_generator=self.roi_generator,
            roi_aligner=self.roi_aligner,
            detection_generator=self.detection_generator,
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
            anchor=self.anchor, detection_generator=self.detection_generator
        )


def _stock_part(**parts: Formed) -> str:
    return next((name for name, part in parts.items() if not part.is_reference), "")
