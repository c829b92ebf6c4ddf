"""Settings of the samplers: which RoIs and anchors train.

They default to Model Garden's own draws.
"""

from __future__ import annotations

import dataclasses

from official.modeling import hyperparams
from official.vision.configs import maskrcnn as tfm_maskrcnn

from libra_tf.samplers.anchor_sampler import NEGATIVES as ANCHOR_NEGATIVES
from libra_tf.samplers.rule import SamplingRule
from libra_tf.setting import setting, setting_of


@dataclasses.dataclass
class ScoreRanked(hyperparams.Config):
    """ISR-N of PISA (Cao et al., CVPR 2020): the negatives "score_ranked".

    Attributes:
        k: exponent of the weight; 0 gives weights 1.
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
    num_bins: int = setting_of(SamplingRule, "num_bins")
    neg_pos_ub: float = setting(0.0, low=0)
