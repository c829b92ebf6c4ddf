"""Losses: a function that gives one value per element, and a Keras twin.

Nothing here imports `layers`, `samplers` or Model Garden.
"""

from libra_tf.losses.balanced_l1 import BalancedL1Loss, balanced_l1
from libra_tf.losses.smooth_l1 import l1, smooth_l1

__all__ = ["BalancedL1Loss", "balanced_l1", "l1", "smooth_l1"]
