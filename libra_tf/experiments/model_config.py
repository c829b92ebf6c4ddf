"""Model settings: Model Garden's, plus one field for each seam that we add.

Every field added here defaults to "off", so a config without overrides builds Model
Garden's own detector.
"""

from __future__ import annotations

import dataclasses

from official.modeling import hyperparams
from official.vision.configs import maskrcnn as tfm_maskrcnn

from libra_tf.experiments import reference_config as reference

NECKS = (
    "none",
    "balanced_feature_pyramid",
    "path_aggregation",
    "balanced_path_aggregation",
)
REFINEMENTS = ("none", "conv", "non_local")
OBJECTNESS = ("none", "residual")
SCORE_THRESHOLDS = ("fixed", "global_prior", "class_prior")


@dataclasses.dataclass
class Neck(hyperparams.Config):
    """Feature level: what follows the FPN.

    Attributes:
        type: one of `NECKS`.
        refine: one of `REFINEMENTS`; how the integrated level is refined.
        refine_level: the level at which all levels are integrated. 4 is C4/P4, the
            paper's choice (section 3.2) for Faster R-CNN and for RetinaNet.
        conv_out_initializer: of the non-local block's last convolution. "zeros" as in
            mmdetection 3; "glorot_uniform" as in the code that the paper was run with.
    """

    type: str = "none"
    refine: str = "non_local"
    refine_level: int = 4
    conv_out_initializer: str = "zeros"


@dataclasses.dataclass
class Objectness(hyperparams.Config):
    """Sample level: how the head tells objects from background.

    Attributes:
        type: "none" is Model Garden's head. "residual" adds an objectness output with
            one residual module (Chen et al., 2019); the score of a class is the product
            of both.
    """

    type: str = "none"


@dataclasses.dataclass
class Prior(hyperparams.Config):
    """Sample level: the probability of an object that the class output starts from.

    It sets the bias of RetinaNet's class output, or of the RPN's objectness.

    Attributes:
        value: in (0, 1); null leaves Model Garden's bias (0.01 for RetinaNet, 0.5 for
            the RPN).
        from_data: take the share of positives among all (anchor, class) entries,
            counted in one pass over the training data (Chen et al., 2019), instead of
            `value`.
        score_threshold: below which score a detection is dropped before suppression.
            "fixed" is `detection_generator.pre_nms_score_threshold`; "global_prior" the
            prior times the number of classes, as released; "class_prior" the prior of
            each class, from its own positives.
    """

    value: float | None = None
    from_data: bool = False
    score_threshold: str = "fixed"


@dataclasses.dataclass
class ScoreRanked(hyperparams.Config):
    """ISR-N of PISA (Cao et al., CVPR 2020): the negatives "score_ranked".

    Attributes:
        k: exponent of the weight.
        bias: weight of the last rank, before the exponent.
        score_threshold: candidates are ranked whose best class scores above this.
        iou_threshold: from which on two boxes are in one group.
    """

    k: float = 0.5
    bias: float = 0.0
    score_threshold: float = 0.05
    iou_threshold: float = 0.5


@dataclasses.dataclass
class ROISampler(tfm_maskrcnn.ROISampler):
    """Sample level: which RoIs train the R-CNN head.

    Attributes:
        positives: one of `libra_tf.samplers.rule.POSITIVES`.
        negatives: one of `libra_tf.samplers.rule.NEGATIVES`.
        num_bins: K of the IoU-balanced samplers.
        without_quota: with positives and negatives "hardest": the hardest candidates of
            both kinds together (the original OHEM), not each kind within its share.
        score_ranked: settings of the negatives "score_ranked".
        ignore_padding: never take the padding of the proposal list for a background
            example, and give no loss to rows that no candidate fills. Model Garden's
            sampler does both. Implied by any choice other than "random".
        seed: start of the draws; set from `trainer.seed`.
    """

    positives: str = "random"
    negatives: str = "random"
    num_bins: int = 3
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


@dataclasses.dataclass
class RPNSampler(hyperparams.Config):
    """Sample level: which anchors train the RPN classifier.

    Attributes:
        negatives: "random" (Model Garden), "iou_balanced", or "all" for no sampling, of
            positives neither.
        num_bins: K of the IoU-balanced negatives.
        neg_pos_ub: most negatives per positive (at least one positive is counted);
            0 is no bound, which is Model Garden's behaviour.
    """

    negatives: str = "random"
    num_bins: int = 3
    neg_pos_ub: float = 0.0


@dataclasses.dataclass
class MaskRCNN(reference.MaskRCNNParts):
    """Faster and Mask R-CNN with the seams.

    Attributes:
        frozen_stages: how many stages of a ResNet keep their initial weights: 0 none,
            1 the stem and conv2_x, 2 also conv3_x, up to 4.
    """

    neck: Neck = dataclasses.field(default_factory=Neck)
    roi_sampler: ROISampler = dataclasses.field(default_factory=ROISampler)
    rpn_sampler: RPNSampler = dataclasses.field(default_factory=RPNSampler)
    objectness: Objectness = dataclasses.field(default_factory=Objectness)
    prior: Prior = dataclasses.field(default_factory=Prior)
    frozen_stages: int = 0


@dataclasses.dataclass
class RetinaNet(reference.RetinaNetParts):
    """RetinaNet with the seams. See `MaskRCNN` for `frozen_stages`."""

    neck: Neck = dataclasses.field(default_factory=Neck)
    objectness: Objectness = dataclasses.field(default_factory=Objectness)
    prior: Prior = dataclasses.field(default_factory=Prior)
    frozen_stages: int = 0
