"""How regions are drawn, and which settings make sense together."""

from __future__ import annotations

import dataclasses

from libra_tf.ops.hierarchical_rank import IOU_THRESHOLD
from libra_tf.ops.rescale import MIN_K
from libra_tf.samplers.score_ranked import BIAS, SCORE_THRESHOLD, K
from libra_tf.setting import check_limits, setting

POSITIVES = ("random", "instance_balanced", "hardest", "all")
NEGATIVES = (
    "random",
    "iou_balanced",
    "iou_balanced_published",
    "hardest",
    "score_ranked",
    "all",
)
# These need a forward pass of the head over all candidates.
MINED = ("hardest", "score_ranked")
_FAST_RCNN = "Fast R-CNN, section 2.3"
_PISA = "mmdetection, ScoreHLRSampler"


@dataclasses.dataclass(frozen=True)
class SamplingRule:
    """Settings of `select_rois`; raises `ValueError` for one out of its range.

    Attributes:
        num_sampled_rois: how many to draw per image.
        foreground_fraction: highest share of positives.
        foreground_iou_threshold: positive is IoU >= this.
        background_iou_high_threshold: negative is IoU < this; between it and
            `foreground_iou_threshold` a box is ignored. End of the IoU bins.
        background_iou_low_threshold: negative is IoU >= this.
        positives: how positives are drawn.
        negatives: how negatives are drawn. "all" goes with positives "all" only:
            nothing is drawn, every labelled candidate is trained on.
        num_bins: IoU bins of the balanced negatives.
        without_quota: with positives and negatives "hardest", take the hardest of both
            kinds together.
        k: of the negatives "score_ranked", see `score_ranked.isr_negative_sample`.
        bias: the same.
        score_threshold: the same.
        group_iou_threshold: the same.
    """

    num_sampled_rois: int = setting(512, low=1, high=10**6)
    foreground_fraction: float = setting(0.25, low=0, high=1, source=_FAST_RCNN)
    foreground_iou_threshold: float = setting(0.5, low=0, high=1, unit="IoU")
    background_iou_high_threshold: float = setting(0.5, above=0, high=1, unit="IoU")
    background_iou_low_threshold: float = setting(0.0, low=0, below=1, unit="IoU")
    positives: str = setting("random", choices=POSITIVES)
    negatives: str = setting("random", choices=NEGATIVES)
    num_bins: int = setting(
        3, low=1, high=10_000, source="K of Libra R-CNN, section 3.1"
    )
    without_quota: bool = False
    k: float = setting(K, low=MIN_K, source=_PISA)
    bias: float = setting(BIAS, low=0, high=1, source=_PISA)
    score_threshold: float = setting(SCORE_THRESHOLD, low=0, high=1, source=_PISA)
    group_iou_threshold: float = setting(
        IOU_THRESHOLD, above=0, high=1, unit="IoU", source=_PISA
    )

    def __post_init__(self) -> None:
        check_limits(self)
        low, high = (
            self.background_iou_low_threshold,
            self.background_iou_high_threshold,
        )
        if not low < high <= self.foreground_iou_threshold:
            raise ValueError(
                "the thresholds must keep background_iou_low_threshold < "
                "background_iou_high_threshold <= foreground_iou_threshold, got "
                f"{low}, {high} and {self.foreground_iou_threshold}"
            )
        if (self.positives == "all") != (self.negatives == "all"):
            raise ValueError(
                "positives and negatives are 'all' together or not at all, got "
                f"{self.positives!r} and {self.negatives!r}"
            )
        both_hardest = self.positives == self.negatives == "hardest"
        if self.without_quota and not both_hardest:
            raise ValueError(
                "without_quota goes with positives and negatives 'hardest', got "
                f"{self.positives!r} and {self.negatives!r}"
            )

    @property
    def draws_nothing(self) -> bool:
        """Whether every labelled candidate is trained on."""
        return self.positives == "all"

    @property
    def is_mined(self) -> bool:
        """Whether the choice needs the head's answer for every candidate."""
        return self.positives in MINED or self.negatives in MINED
