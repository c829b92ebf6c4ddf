"""Loss settings: Model Garden's, plus a choice for each loss and of the normaliser.

Every field added here defaults to Model Garden's own loss.
"""

from __future__ import annotations

import dataclasses
import math

from official.modeling import hyperparams
from official.vision.configs import maskrcnn as tfm_maskrcnn
from official.vision.configs import retinanet as tfm_retinanet

BOX_LOSSES = ("huber", "smooth_l1", "l1", "balanced_l1")
ONE_STAGE_BOX_LOSSES = (*BOX_LOSSES, "ghm_r")
CLASS_LOSSES = (
    "focal",
    "cross_entropy",
    "ghm_c",
    "average_precision",
    "distributional_ranking",
    "residual_objectness",
)
NORMALIZERS = ("tfm", "reference")
TWO_STAGE_NORMALIZERS = (*NORMALIZERS, "positives")
DIVISORS = ("non_empty", "all")


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

    num_bins: int = 30
    momentum: float = 0.75
    divisor: str = "non_empty"
    per_level: bool = False
    mu: float = 0.02


@dataclasses.dataclass
class AveragePrecision(hyperparams.Config):
    """AP loss (Chen et al., CVPR 2019).

    Attributes:
        delta: half width of the piecewise linear step.
        interpolated: use the interpolated precision, as released.
    """

    delta: float = 1.0
    interpolated: bool = True


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

    positive_temperature: float = 1.0
    negative_temperature: float = 0.1 / math.log(3.5)
    smoothing: float = 6.0
    scale: float = 4.0
    margin: float = 0.5
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

    moving: bool = True
    updates: int = 3
    objectness: float = 20.0
    classification: float = 10.0


@dataclasses.dataclass
class ClassLoss(hyperparams.Config):
    """Sample level: the class loss of RetinaNet.

    Attributes:
        type: one of `CLASS_LOSSES`. "focal" takes `focal_loss_alpha` and
            `focal_loss_gamma`; "residual_objectness" goes with
            `model.objectness.type=residual`.
        weight: factor of the class loss.
        ghm: settings of "ghm_c".
        average_precision: settings of "average_precision".
        distributional_ranking: settings of "distributional_ranking".
        objectness: settings of "residual_objectness".
    """

    type: str = "focal"
    weight: float = 1.0
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


@dataclasses.dataclass
class PositiveImportance(hyperparams.Config):
    """ISR-P of PISA (Cao et al., CVPR 2020): weights of the positives' class loss.

    Attributes:
        enabled: weigh each positive by the rank of its predicted box.
        k: exponent of the weight.
        bias: weight of the last rank, before the exponent.
    """

    enabled: bool = False
    k: float = 2.0
    bias: float = 0.0


@dataclasses.dataclass
class ClassAwareRegression(hyperparams.Config):
    """CARL of PISA: a box loss weighted by the score of the target class.

    Attributes:
        weight: factor of the loss, which is added to the box loss; 0 is off.
        k: exponent of the score.
        bias: weight of a score of 0, before the exponent.
    """

    weight: float = 0.0
    k: float = 1.0
    bias: float = 0.2


@dataclasses.dataclass
class GuidedLoss(hyperparams.Config):
    """Guided loss of Sampling-Free (Chen et al., 2019).

    Attributes:
        enabled: scale each class loss to the value of its box loss.
        factor: of the scaled loss of RetinaNet and of the RPN.
        roi_factor: of the scaled loss of the R-CNN head.
    """

    enabled: bool = False
    factor: float = 1.0
    roi_factor: float = 2.0


@dataclasses.dataclass
class BoxLoss(hyperparams.Config):
    """Objective level: the box loss of the R-CNN head or of RetinaNet.

    Attributes:
        type: one of `BOX_LOSSES`, for RetinaNet also "ghm_r". "huber" is Model Garden's
            own box loss with its own delta, weight and normaliser; the settings below
            do not touch it. The others sum the four coordinates of each box.
        weight: factor of the other box losses.
        beta: threshold between inliers and outliers (smooth L1 and balanced L1).
        alpha: inlier gradient of balanced L1 (paper, eq. 8).
        gamma: outlier gradient of balanced L1 (paper, eq. 8).
        form: "consistent" or "reference"; they differ where beta is not 1, see
            `libra_tf.losses.balanced_l1`.
        ghm: settings of "ghm_r".
    """

    type: str = "huber"
    weight: float = 1.0
    beta: float = 1.0
    alpha: float = 0.5
    gamma: float = 1.5
    form: str = "consistent"
    ghm: GradientHarmonizing = dataclasses.field(
        default_factory=lambda: GradientHarmonizing(num_bins=10, momentum=0.7)
    )


@dataclasses.dataclass
class MaskRCNNLosses(tfm_maskrcnn.Losses):
    """Losses of Faster and Mask R-CNN.

    Attributes:
        box: box loss of the R-CNN head.
        normalizer: what the losses are divided by.
            "tfm": RPN class loss by batch x number of sampled RoIs, RPN box loss by the
            positive coordinates of each level, R-CNN class loss by all rows, R-CNN box
            loss by the positive coordinates.
            "reference": both RPN losses by the sampled anchors, both R-CNN losses by
            the sampled RoIs, counted over all replicas.
            "positives": as "reference", but both box losses by the coordinates of the
            positives, which does not shrink them where nothing is sampled.
        isr: weights of the positive RoIs.
        carl: an addition to the box loss of the R-CNN head.
        guided: ratio of class and box losses.
    """

    box: BoxLoss = dataclasses.field(default_factory=BoxLoss)
    normalizer: str = "tfm"
    isr: PositiveImportance = dataclasses.field(default_factory=PositiveImportance)
    carl: ClassAwareRegression = dataclasses.field(default_factory=ClassAwareRegression)
    guided: GuidedLoss = dataclasses.field(default_factory=GuidedLoss)


@dataclasses.dataclass
class RetinaNetLosses(tfm_retinanet.Losses):
    """Losses of RetinaNet.

    Attributes:
        box: box loss.
        normalizer: "tfm" divides by the positives of the replica plus one, "reference"
            by the positives of all replicas, counting at least one per image. GHM, AP,
            DR and residual objectness divide their class losses themselves, GHM-R and
            residual objectness their box losses too.
        classification: class loss.
        isr: weights of the positive anchors.
        carl: an addition to the box loss.
        guided: ratio of class and box loss.
    """

    box: BoxLoss = dataclasses.field(default_factory=BoxLoss)
    normalizer: str = "tfm"
    classification: ClassLoss = dataclasses.field(default_factory=ClassLoss)
    isr: PositiveImportance = dataclasses.field(default_factory=PositiveImportance)
    carl: ClassAwareRegression = dataclasses.field(default_factory=ClassAwareRegression)
    guided: GuidedLoss = dataclasses.field(default_factory=GuidedLoss)

    @property
    def is_stock(self) -> bool:
        """Whether these settings are Model Garden's own losses."""
        return (
            self.normalizer == "tfm"
            and self.box.type == "huber"
            and self.classification.type == "focal"
            and self.classification.weight == 1.0
            and not self.isr.enabled
            and not self.carl.weight
            and not self.guided.enabled
        )
