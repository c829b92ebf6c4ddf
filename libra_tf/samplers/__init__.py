"""Samplers: choose the examples that are trained on. They have no trained weights."""

from libra_tf.samplers.anchor_sampler import limit_negatives
from libra_tf.samplers.roi_sampler import RoISampler
from libra_tf.samplers.selection import RoISelection, select_rois

__all__ = ["RoISampler", "RoISelection", "limit_negatives", "select_rois"]
