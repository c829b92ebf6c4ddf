"""Loss settings: Model Garden's, plus the choice of box loss and of normaliser."""

from __future__ import annotations

import dataclasses

from official.modeling import hyperparams
from official.vision.configs import maskrcnn as tfm_maskrcnn
from official.vision.configs import retinanet as tfm_retinanet

BOX_LOSSES = ("huber", "smooth_l1", "l1", "balanced_l1")
NORMALIZERS = ("tfm", "reference")


@dataclasses.dataclass
class BoxLoss(hyperparams.Config):
    """Objective level: the box loss of the R-CNN head or of RetinaNet.

    Attributes:
      type: one of `BOX_LOSSES`. "huber" is Model Garden's own box loss with its own
        delta, weight and normaliser; the settings below do not touch it. The others
        sum the four coordinates of each box.
      weight: factor of the other box losses.
      beta: threshold between inliers and outliers (smooth L1 and balanced L1).
      alpha: inlier gradient of balanced L1 (paper, eq. 8).
      gamma: outlier gradient of balanced L1 (paper, eq. 8).
      form: "consistent" or "reference"; they differ where beta is not 1, see
        `libra_tf.losses.balanced_l1`.
    """

    type: str = "huber"
    weight: float = 1.0
    beta: float = 1.0
    alpha: float = 0.5
    gamma: float = 1.5
    form: str = "consistent"


@dataclasses.dataclass
class MaskRCNNLosses(tfm_maskrcnn.Losses):
    """Losses of Faster and Mask R-CNN.

    Attributes:
      box: box loss of the R-CNN head.
      normalizer: what the losses are divided by.
        "tfm": RPN class loss by batch x number of sampled RoIs, RPN box loss by the
        positive coordinates of each level, R-CNN class loss by all rows, R-CNN box
        loss by the positive coordinates.
        "reference": both RPN losses by the sampled anchors, both R-CNN losses by the
        sampled RoIs, counted over all replicas.
    """

    box: BoxLoss = dataclasses.field(default_factory=BoxLoss)
    normalizer: str = "tfm"


@dataclasses.dataclass
class RetinaNetLosses(tfm_retinanet.Losses):
    """Losses of RetinaNet.

    Attributes:
      box: box loss.
      normalizer: "tfm" divides by the positives of the replica plus one,
        "reference" by the positives of all replicas, counting at least one per image.
    """

    box: BoxLoss = dataclasses.field(default_factory=BoxLoss)
    normalizer: str = "tfm"
