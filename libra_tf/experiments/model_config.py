"""Model settings: Model Garden's, plus one field for each seam that we add.

Every field added here defaults to "off", so a config without overrides builds Model
Garden's own detector.
"""

from __future__ import annotations

import dataclasses
from typing import TypeAlias

from official.modeling import hyperparams

from libra_tf.experiments.detector_config import MaskRCNNParts, RetinaNetParts
from libra_tf.experiments.sampler_config import ROISampler, RPNSampler
from libra_tf.layers.balanced_feature_pyramid import (
    REFINEMENTS,
    BalancedFeaturePyramid,
)
from libra_tf.layers.non_local import CONV_OUT_INITIALIZERS
from libra_tf.layers.path_aggregation import PathAggregation
from libra_tf.setting import setting

# Which layers follow the FPN, one behind the other.
_Layers: TypeAlias = tuple[type, ...]
NECKS: dict[str, _Layers] = {
    "none": (),
    "balanced_feature_pyramid": (BalancedFeaturePyramid,),
    "path_aggregation": (PathAggregation,),
    "balanced_path_aggregation": (PathAggregation, BalancedFeaturePyramid),
}
NECKS_OF_ANY_SIZE = tuple(
    name for name, layers in NECKS.items() if PathAggregation not in layers
)
_REFINEMENTS = {each or "none": each for each in REFINEMENTS}
OBJECTNESS = ("none", "residual")
SCORE_THRESHOLDS = ("fixed", "global_prior", "class_prior")

_LIBRA_PYRAMID = "Libra R-CNN, section 3.2"


@dataclasses.dataclass
class Neck(hyperparams.Config):
    """Feature level: what follows the FPN.

    Attributes:
        type: the neck; "none" is the FPN alone.
        refine: how the integrated level is refined.
        refine_level: the level at which all levels are integrated; 4 is C4/P4.
        conv_out_initializer: of the non-local block's last convolution. "zeros" as in
            mmdetection 3; "glorot_uniform" as in the code that the paper was run with.
    """

    type: str = setting("none", choices=tuple(NECKS))
    refine: str = setting(
        "non_local", choices=tuple(_REFINEMENTS), source=_LIBRA_PYRAMID
    )
    refine_level: int = setting(4, source=_LIBRA_PYRAMID)
    conv_out_initializer: str = setting(
        "zeros", choices=CONV_OUT_INITIALIZERS, source="mmdetection 3"
    )

    @property
    def layers(self) -> _Layers:
        """Kinds of the layers behind the FPN, in their order."""
        return NECKS[self.type]

    @property
    def refinement(self) -> str | None:
        """Name of the refinement for the layer; None for "none"."""
        return _REFINEMENTS[self.refine]

    @property
    def is_balanced(self) -> bool:
        """Whether all levels are integrated at `refine_level`."""
        return BalancedFeaturePyramid in self.layers

    @property
    def takes_any_size(self) -> bool:
        """Whether the neck works on images of any size."""
        return self.type in NECKS_OF_ANY_SIZE


@dataclasses.dataclass
class Objectness(hyperparams.Config):
    """Sample level: how the head tells objects from background.

    Attributes:
        type: "none" is Model Garden's head. "residual" adds an objectness output with
            one residual module (Chen et al., 2019); the score of a class is the product
            of both.
    """

    type: str = setting("none", choices=OBJECTNESS)

    @property
    def is_residual(self) -> bool:
        """Whether the head has an objectness output."""
        return self.type == "residual"


@dataclasses.dataclass
class Prior(hyperparams.Config):
    """Sample level: the probability of an object that the class output starts from.

    It sets the bias of RetinaNet's class output, or of the RPN's objectness.

    Attributes:
        value: the probability; null leaves Model Garden's bias (0.01 for RetinaNet, 0.5
            for the RPN).
        from_data: take the share of positives among all (anchor, class) entries,
            counted in one pass over the training data (Chen et al., 2019), instead of
            `value`.
        score_threshold: below which score a detection is dropped before suppression.
            "fixed" is `detection_generator.pre_nms_score_threshold`; "global_prior" the
            prior times the number of classes, as released; "class_prior" the prior of
            each class, from its own positives.
    """

    value: float | None = setting(None, above=0, below=1)
    from_data: bool = False
    score_threshold: str = setting("fixed", choices=SCORE_THRESHOLDS)

    @property
    def is_set(self) -> bool:
        """Whether there is a prior other than Model Garden's."""
        return self.from_data or self.value is not None

    @property
    def sets_thresholds(self) -> bool:
        """Whether the thresholds of the scores follow from the data."""
        return self.score_threshold != "fixed"


@dataclasses.dataclass
class Seams:
    """What every detector lets one choose.

    Attributes:
        frozen_stages: how many stages of a ResNet keep their initial weights: 0 none,
            1 the stem and conv2_x, 2 also conv3_x, up to 4.
    """

    neck: Neck = dataclasses.field(default_factory=Neck)
    objectness: Objectness = dataclasses.field(default_factory=Objectness)
    prior: Prior = dataclasses.field(default_factory=Prior)
    frozen_stages: int = setting(0, low=0, high=4)


@dataclasses.dataclass
class MaskRCNN(Seams, MaskRCNNParts):
    """Faster and Mask R-CNN with the seams."""

    roi_sampler: ROISampler = dataclasses.field(default_factory=ROISampler)
    rpn_sampler: RPNSampler = dataclasses.field(default_factory=RPNSampler)


@dataclasses.dataclass
class RetinaNet(Seams, RetinaNetParts):
    """RetinaNet with the seams."""
