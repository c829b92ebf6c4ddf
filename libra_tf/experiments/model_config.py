"""Model settings: Model Garden's, plus one field for each seam that we add.

Every field added here defaults to "off", so a config without overrides builds Model
Garden's own detector.
"""

from __future__ import annotations

import dataclasses

from official.modeling import hyperparams
from official.vision.configs import maskrcnn as tfm_maskrcnn
from official.vision.configs import retinanet as tfm_retinanet

NECKS = ("none", "balanced_feature_pyramid")
REFINEMENTS = ("none", "conv", "non_local")


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
class ROISampler(tfm_maskrcnn.ROISampler):
    """Sample level: which RoIs train the R-CNN head.

    Attributes:
      positives: one of `libra_tf.samplers.selection.POSITIVES`.
      negatives: one of `libra_tf.samplers.selection.NEGATIVES`.
      num_bins: K of the IoU-balanced samplers.
      ignore_padding: never take the padding of the proposal list for a background
        example, and give no loss to rows that no candidate fills. Model Garden's
        sampler does both. Implied by any choice other than "random".
      seed: start of the draws; set from `trainer.seed`.
    """

    positives: str = "random"
    negatives: str = "random"
    num_bins: int = 3
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
      neg_pos_ub: most negatives per positive (at least one positive is counted);
        0 is no bound, which is Model Garden's behaviour.
    """

    neg_pos_ub: float = 0.0


@dataclasses.dataclass
class MaskRCNN(tfm_maskrcnn.MaskRCNN):
    """Faster and Mask R-CNN with the three seams.

    Attributes:
      frozen_stages: how many stages of a ResNet keep their initial weights: 0 none,
        1 the stem and conv2_x, 2 also conv3_x, up to 4.
    """

    neck: Neck = dataclasses.field(default_factory=Neck)
    roi_sampler: ROISampler = dataclasses.field(default_factory=ROISampler)
    rpn_sampler: RPNSampler = dataclasses.field(default_factory=RPNSampler)
    frozen_stages: int = 0


@dataclasses.dataclass
class RetinaNet(tfm_retinanet.RetinaNet):
    """RetinaNet with a neck. See `MaskRCNN` for `frozen_stages`."""

    neck: Neck = dataclasses.field(default_factory=Neck)
    frozen_stages: int = 0
