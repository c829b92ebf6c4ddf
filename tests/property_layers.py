"""How each layer is made, and features of any size to call it with."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from libra_tf import layers
from libra_tf.layers.torch_fpn import EXTRA_LEVELS, NearestLike, TorchFPN
from libra_tf.layers.torch_resnet import GroupedConv2D, TorchResNet


class Layer(NamedTuple):
    """How a layer is made and called.

    Attributes:
        make: the layer, with the global policy.
        inputs: features [B, H, W, C] of a size of the finest level and B images: one
            tensor, or a dict of levels, or a list.
        reaches: whether an output level depends on an input level.
        keeps_shape: whether outputs have the shapes of the inputs.
    """

    make: Callable[[], tf_keras.layers.Layer]
    inputs: Callable[[tuple[int, int], int, np.random.Generator], object]
    reaches: Callable[[int, int], bool] = lambda output, given: True
    keeps_shape: bool = True


CHANNELS = 4
BACKBONE = {"3": 2, "4": 3, "5": 5}  # channels of its levels


def _map(
    size: tuple[int, int],
    images: int,
    rng: np.random.Generator,
    channels: int = CHANNELS,
) -> tf.Tensor:
    return tf.constant(rng.normal(0, 1, (images, *size, channels)), tf.float32)


def _image(size: tuple[int, int], images: int, rng: np.random.Generator) -> tf.Tensor:
    return _map(size, images, rng, channels=3)


def _halved(
    size: tuple[int, int], images: int, rng: np.random.Generator
) -> dict[str, tf.Tensor]:
    """Levels 3 to 6, each half the one before, rounded up."""
    features = {}
    for level in "3456":
        features[level] = _map(size, images, rng)
        size = -(-size[0] // 2), -(-size[1] // 2)
    return features


def _backbone(
    size: tuple[int, int], images: int, rng: np.random.Generator
) -> dict[str, tf.Tensor]:
    """Levels with channels of their own; the sizes need not be halves."""
    features = {}
    for level, channels in BACKBONE.items():
        features[level] = _map(size, images, rng, channels)
        size = -(-size[0] // 3), -(-size[1] // 2)
    return features


def _two_maps(
    size: tuple[int, int], images: int, rng: np.random.Generator
) -> list[tf.Tensor]:
    coarse = -(-size[0] // 2), -(-size[1] // 3)
    return [_map(coarse, images, rng), _map(size, images, rng)]


def _torch_fpn(extra_levels: str) -> TorchFPN:
    specs = {k: tf.TensorShape([None, None, None, c]) for k, c in BACKBONE.items()}
    return TorchFPN(
        specs,
        min_level=3,
        max_level=7,
        num_filters=CHANNELS,
        # (Without ReLU before them: of four channels all may be off.)
        extra_levels=extra_levels,
    )


LAYERS = {
    **{
        f"BalancedFeaturePyramid, {refine}": Layer(
            lambda refine=refine: layers.BalancedFeaturePyramid(
                refine, conv_out_initializer="glorot_uniform", seed=1
            ),
            _halved,
        )
        for refine in (None, "conv", "non_local")
    },
    **{
        f"GroupedConv2D, {groups}": Layer(
            lambda groups=groups: GroupedConv2D(
                CHANNELS, 3, padding="same", groups=groups
            ),
            _map,
        )
        for groups in (1, 2)
    },
    "NearestLike": Layer(
        lambda: NearestLike(),
        _two_maps,
        reaches=lambda output, given: given == 0,
        keeps_shape=False,
    ),
    "NonLocalBlock": Layer(
        lambda: layers.NonLocalBlock(conv_out_initializer="glorot_uniform", seed=1),
        _map,
    ),
    "PathAggregation": Layer(
        lambda: layers.PathAggregation(seed=1),
        _halved,
        reaches=lambda output, given: output >= given,
    ),
    **{
        f"ResidualObjectness, {kernel}": Layer(
            lambda kernel=kernel: layers.ResidualObjectness(
                3, num_anchors=2, kernel_size=kernel, seed=1
            ),
            _map,
            keeps_shape=False,
        )
        for kernel in (3, None)
    },
    **{
        f"TorchFPN, {extra}": Layer(
            lambda extra=extra: _torch_fpn(extra),
            _backbone,
            # The extra levels know the last one of the backbone.
            reaches=lambda output, given: given >= min(output, 5),
            keeps_shape=False,
        )
        for extra in EXTRA_LEVELS
    },
    "TorchResNet": Layer(
        lambda: TorchResNet(50, base_channels=4), _image, keeps_shape=False
    ),
}
