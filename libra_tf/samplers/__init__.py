"""Samplers: choose the examples that are trained on. They have no trained weights."""

from libra_tf.samplers.anchor_sampler import (
    draw_anchors,
    limit_negatives,
    sample_anchors,
)
from libra_tf.samplers.mining import MinedRoIs
from libra_tf.samplers.roi_sampler import RoISampler, SampledRoIs
from libra_tf.samplers.rule import SamplingRule
from libra_tf.samplers.selection import RoISelection, select_rois

__all__ = [
    "MinedRoIs",
    "RoISampler",
    "RoISelection",
    "SampledRoIs",
    "SamplingRule",
    "draw_anchors",
    "limit_negatives",
    "sample_anchors",
    "select_rois",
]
