"""How regions are drawn, and which settings make sense together."""

from __future__ import annotations

import dataclasses
import math

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


@dataclasses.dataclass(frozen=True)
class SamplingRule:
    """Settings of `select_rois`; raises `ValueError` for one out of its range.

    Attributes:
        num_sampled_rois: how many to draw per image, at least 1.
        foreground_fraction: highest share of positives, in [0, 1].
        foreground_iou_threshold: positive is IoU >= this.
        background_iou_high_threshold: negative is IoU < this; between it and
            `foreground_iou_threshold` a box is ignored. End of the IoU bins.
        background_iou_low_threshold: negative is IoU >= this.
        positives: one of `POSITIVES`.
        negatives: one of `NEGATIVES`. "all" goes with positives "all" only: nothing is
            drawn, every labelled candidate is trained on.
        num_bins: IoU bins of the balanced negatives.
        without_quota: with positives and negatives "hardest", take the hardest of both
            kinds together.
        k, bias, score_threshold, group_iou_threshold: of the negatives "score_ranked",
            see `score_ranked.isr_negative_sample`.
    """

    num_sampled_rois: int = 512
    foreground_fraction: float = 0.25
    foreground_iou_threshold: float = 0.5
    background_iou_high_threshold: float = 0.5
    background_iou_low_threshold: float = 0.0
    positives: str = "random"
    negatives: str = "random"
    num_bins: int = 3
    without_quota: bool = False
    k: float = 0.5
    bias: float = 0.0
    score_threshold: float = 0.05
    group_iou_threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.num_sampled_rois < 1:
            raise ValueError(
                f"num_sampled_rois must be at least 1, got {self.num_sampled_rois}"
            )
        if not 0 <= self.foreground_fraction <= 1:
            raise ValueError(
                f"foreground_fraction must be in [0, 1], got {self.foreground_fraction}"
            )
        self._check_thresholds()
        self._check_choices()
        if self.num_bins < 1:
            raise ValueError(f"num_bins must be at least 1, got {self.num_bins}")
        self._check_ranking()

    @property
    def draws_nothing(self) -> bool:
        """Whether every labelled candidate is trained on."""
        return self.positives == "all"

    @property
    def is_mined(self) -> bool:
        """Whether the choice needs the head's answer for every candidate."""
        return self.positives in MINED or self.negatives in MINED

    def _check_thresholds(self) -> None:
        low, high = (
            self.background_iou_low_threshold,
            self.background_iou_high_threshold,
        )
        if not (0 <= low < high <= self.foreground_iou_threshold <= 1):
            raise ValueError(
                "the thresholds must keep 0 <= background_iou_low_threshold < "
                "background_iou_high_threshold <= foreground_iou_threshold <= 1, got "
                f"{low}, {high} and {self.foreground_iou_threshold}"
            )

    def _check_ranking(self) -> None:
        if not 0 < self.k < math.inf:
            raise ValueError(f"score_ranked k must be > 0, got {self.k}")
        for name in ("bias", "score_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"score_ranked {name} must be in [0, 1], got {getattr(self, name)}"
                )
        if not 0 < self.group_iou_threshold <= 1:
            raise ValueError(
                "score_ranked group_iou_threshold must be in (0, 1], got "
                f"{self.group_iou_threshold}"
            )

    def _check_choices(self) -> None:
        if self.positives not in POSITIVES:
            raise ValueError(
                f"positives must be one of {', '.join(POSITIVES)}, "
                f"got {self.positives!r}"
            )
        if self.negatives not in NEGATIVES:
            raise ValueError(
                f"negatives must be one of {', '.join(NEGATIVES)}, "
                f"got {self.negatives!r}"
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
