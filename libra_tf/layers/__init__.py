"""Layers: the trainable parts that a paper adds to a detector."""

from libra_tf.layers.balanced_feature_pyramid import BalancedFeaturePyramid
from libra_tf.layers.non_local import NonLocalBlock
from libra_tf.layers.objectness import ResidualObjectness
from libra_tf.layers.path_aggregation import PathAggregation

__all__ = [
    "BalancedFeaturePyramid",
    "NonLocalBlock",
    "PathAggregation",
    "ResidualObjectness",
]
