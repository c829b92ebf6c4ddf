"""Losses: functions, and thin Keras twins that hold their settings.

Nothing here imports `layers`, `samplers` or Model Garden.
"""

from libra_tf.losses.average_precision import AveragePrecisionLoss, average_precision
from libra_tf.losses.balanced_l1 import BalancedL1Loss, balanced_l1
from libra_tf.losses.carl import carl
from libra_tf.losses.distributional_ranking import (
    DistributionalRankingLoss,
    distributional_ranking,
)
from libra_tf.losses.focal import FocalLoss, focal
from libra_tf.losses.ghm_c import GHMCLoss, ghm_c
from libra_tf.losses.ghm_r import GHMRLoss, ghm_r
from libra_tf.losses.guided import guided
from libra_tf.losses.importance import isr_positive_weights
from libra_tf.losses.residual_objectness import residual_objectness
from libra_tf.losses.smooth_l1 import l1, smooth_l1
from libra_tf.ops.logits import product_logits

__all__ = [
    "AveragePrecisionLoss",
    "BalancedL1Loss",
    "DistributionalRankingLoss",
    "FocalLoss",
    "GHMCLoss",
    "GHMRLoss",
    "average_precision",
    "balanced_l1",
    "carl",
    "distributional_ranking",
    "focal",
    "ghm_c",
    "ghm_r",
    "guided",
    "isr_positive_weights",
    "l1",
    "product_logits",
    "residual_objectness",
    "smooth_l1",
]
