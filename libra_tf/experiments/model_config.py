"""Model settings: Model Garden's, plus one field for each seam that we add.

Every field added here defaults to "off", so a config without overrides builds Model
Garden's own detector.
"""

from __future__ import annotations

import dataclasses
from typing import TypeAlias

from official.modeling import hyperparams
from official.vision.configs import maskrcnn as tfm_maskrcnn

from libra_tf.experiments.detector_config import MaskRCNNParts, RetinaNetParts
from libra_tf.layers.balanced_feature_pyramid import (
    REFINEMENTS,
    BalancedFeaturePyramid,
)
from libra_tf.layers.non_local import CONV_OUT_INITIALIZERS
from libra_tf.layers.path_aggregation import PathAggregation
from libra_tf.samplers.anchor_sampler import NEGATIVES as ANCHOR_NEGATIVES
from libra_tf.samplers.rule import SamplingRule
from libra_tf.setting import setting, setting_of

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


@dataclasses.dataclass
class ScoreRanked(hyperparams.Config):
    """ISR-N of PISA (Cao et al., CVPR 2020): the negatives "score_ranked".

    Attributes:
        k: exponent of the weight.
        bias: weight of the last rank, before the exponent.
        score_threshold: candidates are ranked whose best class scores above this.
        iou_threshold: from which on two boxes are in one group.
    """

    k: float = setting_of(SamplingRule, "k")
    bias: float = setting_of(SamplingRule, "bias")
    score_threshold: float = setting_of(SamplingRule, "score_threshold")
    iou_threshold: float = setting_of(SamplingRule, "group_iou_threshold")


@dataclasses.dataclass
class ROISampler(tfm_maskrcnn.ROISampler):
    """Sample level: which RoIs train the R-CNN head.

    Attributes:
        positives: how the positives are drawn.
        negatives: how the negatives are drawn; "all" goes with positives "all" only.
        num_bins: IoU bins of the balanced negatives.
        without_quota: with positives and negatives "hardest": the hardest candidates of
            both kinds together (the original OHEM), not each kind within its share.
        score_ranked: settings of the negatives "score_ranked".
        ignore_padding: never take the padding of the proposal list for a background
            example, and give no loss to rows that no candidate fills. Model Garden's
            sampler does both. Implied by any choice other than "random".
        seed: start of the draws; set from `trainer.seed`.
    """

    positives: str = setting_of(SamplingRule, "positives")
    negatives: str = setting_of(SamplingRule, "negatives")
    num_bins: int = setting_of(SamplingRule, "num_bins")
    without_quota: bool = False
    score_ranked: ScoreRanked = dataclasses.field(default_factory=ScoreRanked)
    ignore_padding: bool = False
    seed: int = 0

    @property
    def is_stock(self) -> bool:
        """Whether these settings are Model Garden's own sampler."""
        return (self.positives, self.negatives) == ("random", "random") and (
            not self.ignore_padding
        )

    @property
    def rule(self) -> SamplingRule:
        """The rule that the settings mean; raises `ValueError` if they contradict."""
        return SamplingRule(
            num_sampled_rois=self.num_sampled_rois,
            foreground_fraction=self.foreground_fraction,
            foreground_iou_threshold=self.foreground_iou_threshold,
            background_iou_high_threshold=self.background_iou_high_threshold,
            background_iou_low_threshold=self.background_iou_low_threshold,
            positives=self.positives,
            negatives=self.negatives,
            num_bins=self.num_bins,
            without_quota=self.without_quota,
            k=self.score_ranked.k,
            bias=self.score_ranked.bias,
            score_threshold=self.score_ranked.score_threshold,
            group_iou_threshold=self.score_ranked.iou_threshold,
        )

    @property
    def contradiction(self) -> str:
        """Why there is no such `rule`; "" if there is."""
        try:
            _ = self.rule
        except ValueError as error:
            return str(error)
        return ""


@dataclasses.dataclass
class RPNSampler(hyperparams.Config):
    """Sample level: which anchors train the RPN classifier.

    Attributes:
        negatives: how they are drawn. "random" is Model Garden's draw, "all" none, of
            positives neither.
        num_bins: K of the IoU-balanced negatives.
        neg_pos_ub: most negatives per positive (at least one positive is counted);
            0 is no bound, which is Model Garden's behaviour.
    """

    negatives: str = setting("random", choices=ANCHOR_NEGATIVES)
    num_bins: int = setting(3, low=1, source="Libra R-CNN, section 3.1")
    neg_pos_ub: float = setting(0.0, low=0)


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
