"""Loss settings: Model Garden's, plus a choice for each loss and of the normaliser.

Every field added here defaults to Model Garden's own loss.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

from official.modeling import hyperparams
from official.vision.configs import maskrcnn as tfm_maskrcnn
from official.vision.configs import retinanet as tfm_retinanet

from libra_tf.experiments.class_loss_config import ClassLoss, GradientHarmonizing
from libra_tf.losses.balanced_l1 import FORMS as BALANCED_L1_FORMS
from libra_tf.ops.rescale import MIN_K
from libra_tf.setting import setting

BOX_LOSSES = ("huber", "smooth_l1", "l1", "balanced_l1")
ONE_STAGE_BOX_LOSSES = (*BOX_LOSSES, "ghm_r")
NORMALIZERS = ("tfm", "reference")
TWO_STAGE_NORMALIZERS = (*NORMALIZERS, "positives")
# Box losses that are a value for each coordinate, which CARL can weigh.
ELEMENTWISE_BOX_LOSSES = tuple(name for name in BOX_LOSSES if name != "huber")

_PISA = "mmdetection, configs/pisa"
_SAMPLING_FREE = "released code (ChenJoya/sampling-free)"
_DELTA = "encoded box coordinate"


@dataclasses.dataclass
class PositiveImportance(hyperparams.Config):
    """ISR-P of PISA (Cao et al., CVPR 2020): weights of the positives' class loss.

    Attributes:
        enabled: weigh each positive by the rank of its predicted box.
        k: exponent of the weight; 0 leaves the weights as they are.
        bias: weight of the last rank, before the exponent.
    """

    enabled: bool = False
    k: float = setting(2.0, low=MIN_K, source=_PISA)
    bias: float = setting(0.0, low=0, high=1, source=_PISA)


@dataclasses.dataclass
class ClassAwareRegression(hyperparams.Config):
    """CARL of PISA: a box loss weighted by the score of the target class.

    Attributes:
        weight: factor of the loss, which is added to the box loss; 0 is off.
        k: exponent of the score; 0 adds the box loss itself.
        bias: weight of a score of 0, before the exponent.
    """

    weight: float = setting(0.0, low=0)
    k: float = setting(1.0, low=MIN_K, source=_PISA)
    bias: float = setting(0.2, low=0, high=1, source=_PISA)


@dataclasses.dataclass
class GuidedLoss(hyperparams.Config):
    """Guided loss of Sampling-Free (Chen et al., 2019).

    Attributes:
        enabled: scale each class loss to the value of its box loss.
        factor: of the scaled loss of RetinaNet and of the RPN.
        roi_factor: of the scaled loss of the R-CNN head.
    """

    enabled: bool = False
    factor: float = setting(1.0, above=0, source=_SAMPLING_FREE)
    roi_factor: float = setting(2.0, above=0, source=_SAMPLING_FREE)


@dataclasses.dataclass
class BoxLoss(hyperparams.Config):
    """Objective level: the box loss of the R-CNN head or of RetinaNet.

    Attributes:
        type: the loss. "huber" is Model Garden's own box loss with its own delta,
            weight and normaliser; the settings below do not touch it. The others sum
            the four coordinates of each box.
        weight: factor of the other box losses.
        beta: threshold between inliers and outliers (smooth L1 and balanced L1).
        alpha: inlier gradient of balanced L1.
        gamma: outlier gradient of balanced L1.
        form: of balanced L1; the two differ where beta is not 1, see
            `libra_tf.losses.balanced_l1`.
        ghm: settings of "ghm_r", which is for RetinaNet.
    """

    type: str = setting("huber", choices=BOX_LOSSES)
    weight: float = setting(1.0, low=0)
    beta: float = setting(1.0, above=0, unit=_DELTA, source="Libra R-CNN, section 3.3")
    alpha: float = setting(0.5, above=0, source="Libra R-CNN, section 3.3")
    gamma: float = setting(1.5, above=0, source="Libra R-CNN, section 3.3")
    form: str = setting("consistent", choices=BALANCED_L1_FORMS)
    ghm: GradientHarmonizing = dataclasses.field(
        default_factory=lambda: GradientHarmonizing(num_bins=10, momentum=0.7)
    )

    @property
    def is_stock(self) -> bool:
        """Whether it is Model Garden's own."""
        return self.type == "huber"

    @property
    def is_elementwise(self) -> bool:
        """Whether it is ours and a function of each coordinate alone."""
        return self.type in ELEMENTWISE_BOX_LOSSES

    @property
    def exponent(self) -> float:
        """The exponent gamma / alpha of balanced L1."""
        return self.gamma / self.alpha


@dataclasses.dataclass
class RetinaNetBoxLoss(BoxLoss):
    """Objective level: the box loss of RetinaNet; "ghm_r" is a choice more."""

    type: str = setting("huber", choices=ONE_STAGE_BOX_LOSSES)


class _Normalized(Protocol):
    normalizer: str


@dataclasses.dataclass
class MethodLosses:
    """Losses and weights of methods, for every detector.

    Attributes:
        isr: weights of the positive examples.
        carl: an addition to the box loss.
        guided: ratio of class and box losses.
    """

    isr: PositiveImportance = dataclasses.field(default_factory=PositiveImportance)
    carl: ClassAwareRegression = dataclasses.field(default_factory=ClassAwareRegression)
    guided: GuidedLoss = dataclasses.field(default_factory=GuidedLoss)

    @property
    def has_stock_divisors(self: _Normalized) -> bool:
        """Whether losses are divided by what Model Garden divides them by."""
        return self.normalizer == "tfm"


@dataclasses.dataclass
class MaskRCNNLosses(MethodLosses, tfm_maskrcnn.Losses):
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
    """

    box: BoxLoss = dataclasses.field(default_factory=BoxLoss)
    normalizer: str = setting("tfm", choices=TWO_STAGE_NORMALIZERS)

    @property
    def is_plain_classification(self) -> bool:
        """Whether the R-CNN head's class loss is softmax cross entropy of all RoIs."""
        return (
            self.frcnn_class_loss_top_k_percent == 1.0
            and not self.frcnn_class_use_binary_cross_entropy
            and not self.class_weights
        )

    @property
    def huber_delta(self) -> float:
        """Threshold of the box loss "huber"."""
        return self.frcnn_huber_loss_delta


@dataclasses.dataclass
class RetinaNetLosses(MethodLosses, tfm_retinanet.Losses):
    """Losses of RetinaNet.

    Attributes:
        box: box loss.
        normalizer: "tfm" divides by the positives of the replica plus one, "reference"
            by the positives of all replicas, counting at least one per image. GHM, AP,
            DR and residual objectness divide their class losses themselves, GHM-R and
            residual objectness their box losses too.
        classification: class loss.
    """

    box: RetinaNetBoxLoss = dataclasses.field(default_factory=RetinaNetBoxLoss)
    normalizer: str = setting("tfm", choices=NORMALIZERS)
    classification: ClassLoss = dataclasses.field(default_factory=ClassLoss)

    @property
    def is_stock(self) -> bool:
        """Whether these settings are Model Garden's own losses."""
        return (
            self.has_stock_divisors
            and self.box.is_stock
            and self.classification.type == "focal"
            and self.classification.weight == 1.0
            and not self.isr.enabled
            and not self.carl.weight
            and not self.guided.enabled
        )

    @property
    def huber_delta(self) -> float:
        """Threshold of the box loss "huber"."""
        return self.huber_loss_delta

    @property
    def box_weight(self) -> float:
        """Weight of the box loss in the total; "huber" has Model Garden's own."""
        return self.box_loss_weight if self.box.is_stock else self.box.weight
