"""Settings of RetinaNet's class loss: a choice, and each choice's own.

They default to Model Garden's own loss.
"""

from __future__ import annotations

import dataclasses
import math

from official.modeling import hyperparams

from libra_tf.losses.ghm_r import MU_RANGE
from libra_tf.losses.gradient_density import DIVISORS
from libra_tf.setting import setting

CLASS_LOSSES = (
    "focal",
    "cross_entropy",
    "ghm_c",
    "average_precision",
    "distributional_ranking",
    "residual_objectness",
)
# Class losses that are a sum over examples, which ISR-P can weigh.
WEIGHABLE_CLASS_LOSSES = ("focal", "cross_entropy")

_GHM = "mmdetection, configs/ghm"
_AP = "released code (cccorn/AP-loss)"
_DR = "released code (idstcv/DR_loss)"
_OBJECTNESS = "released code (chenjoya/resobj)"


@dataclasses.dataclass
class GradientHarmonizing(hyperparams.Config):
    """GHM (Li et al., AAAI 2019).

    Attributes:
        num_bins: bins of the gradient's length.
        momentum: of the moving histogram; 0 uses the batch alone.
        divisor: "non_empty" divides by the number of filled bins, as released; "all" by
            `num_bins`, as the paper.
        per_level: one histogram and one mean per pyramid level, as released; False
            takes the mini-batch as one, as the paper.
        mu: of the smooth box loss sqrt(d**2 + mu**2) - mu; classification has none.
    """

    num_bins: int = setting(30, low=1, high=10_000, source=_GHM)
    momentum: float = setting(0.75, low=0, below=1, source=_GHM)
    divisor: str = setting("non_empty", choices=DIVISORS, source=_GHM)
    per_level: bool = False
    mu: float = setting(0.02, low=MU_RANGE[0], high=MU_RANGE[1], source=_GHM)


@dataclasses.dataclass
class AveragePrecision(hyperparams.Config):
    """AP loss (Chen et al., CVPR 2019).

    Attributes:
        delta: half width of the piecewise linear step.
        interpolated: use the interpolated precision, as released.
    """

    delta: float = setting(1.0, above=0, unit="logit", source=_AP)
    interpolated: bool = setting(True, source=_AP)


@dataclasses.dataclass
class DistributionalRanking(hyperparams.Config):
    """DR loss (Qian et al., CVPR 2020).

    Attributes:
        positive_temperature: lambda+.
        negative_temperature: lambda-, 0.1 / ln 3.5.
        smoothing: L of the logistic loss.
        scale: tau, factor of the loss.
        margin: by which the worst positives should exceed the worst negatives.
        detach_weights: no gradient through the weights; as released there is one.
        per_image: rank within each image, as the paper, not within the batch.
    """

    positive_temperature: float = setting(1.0, above=0, source=_DR)
    negative_temperature: float = setting(0.1 / math.log(3.5), above=0, source=_DR)
    smoothing: float = setting(6.0, above=0, source=_DR)
    scale: float = setting(4.0, above=0, source=_DR)
    margin: float = setting(0.5, finite=True, source=_DR)
    detach_weights: bool = False
    per_image: bool = False


@dataclasses.dataclass
class ObjectnessNormalizer(hyperparams.Config):
    """Divisors of the losses with residual objectness.

    Attributes:
        moving: divide by a moving average of the number of positives, as released;
            False divides by the positives of the batch.
        updates: of the average in each step. The released code updates it three times
            and divides the three losses by the three values; 1 is without this quirk.
        objectness: further divisor of the objectness loss.
        classification: further divisor of the class loss.
    """

    moving: bool = setting(True, source=_OBJECTNESS)
    updates: int = setting(3, low=1, high=1000, source=_OBJECTNESS)
    objectness: float = setting(20.0, above=0, source=_OBJECTNESS)
    classification: float = setting(10.0, above=0, source=_OBJECTNESS)


@dataclasses.dataclass
class ClassLoss(hyperparams.Config):
    """Sample level: the class loss of RetinaNet.

    Attributes:
        type: the loss. "focal" takes `focal_loss_alpha` and
            `focal_loss_gamma`; "residual_objectness" goes with
            `model.objectness.type=residual`.
        weight: factor of the class loss.
        ghm: settings of "ghm_c".
        average_precision: settings of "average_precision".
        distributional_ranking: settings of "distributional_ranking".
        objectness: settings of "residual_objectness".
    """

    type: str = setting("focal", choices=CLASS_LOSSES)
    weight: float = setting(1.0, above=0)
    ghm: GradientHarmonizing = dataclasses.field(default_factory=GradientHarmonizing)
    average_precision: AveragePrecision = dataclasses.field(
        default_factory=AveragePrecision
    )
    distributional_ranking: DistributionalRanking = dataclasses.field(
        default_factory=DistributionalRanking
    )
    objectness: ObjectnessNormalizer = dataclasses.field(
        default_factory=ObjectnessNormalizer
    )
