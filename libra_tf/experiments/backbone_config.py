"""Backbone and FPN: Model Garden's choices, and those of the published PyTorch models.

`torch_resnet` and `torch_fpn` take the weights that torchvision and OpenMMLab publish.
"""

from __future__ import annotations

import dataclasses

from official.modeling import hyperparams
from official.vision.configs import backbones, decoders

from libra_tf.layers.torch_fpn import EXTRA_LEVELS
from libra_tf.layers.torch_resnet import NORMS, STAGE_BLOCKS
from libra_tf.setting import setting


@dataclasses.dataclass
class TorchResNet(hyperparams.Config):
    """ResNet or ResNeXt of bottlenecks, as torchvision and mmdetection compute it.

    Stride 2 is in the 3x3 convolution; convolutions and the max pooling of the stem
    pad both sides alike; BatchNorm has epsilon 1e-5.

    Attributes:
        model_id: depth.
        base_channels: channels of the stem, and inside the first stage without groups.
        groups: of the 3x3 convolutions; 1 is a ResNet.
        width_per_group: channels of a group in the first stage, for groups above 1.
            ResNeXt-101-64x4d has 64 groups of 4.
        norm: "fixed" as in training on ImageNet, nothing changes;
            "fixed_statistics" trains scale and offset only (mmdetection's `norm_eval`);
            "batch" is plain BatchNorm.
    """

    model_id: int = setting(50, choices=tuple(STAGE_BLOCKS), unit="layers")
    base_channels: int = setting(64, low=1, high=2**16, unit="channels")
    groups: int = setting(1, low=1, high=2**16)
    width_per_group: int = setting(4, low=1, high=2**16, unit="channels")
    norm: str = setting("fixed_statistics", choices=NORMS)


@dataclasses.dataclass
class Backbone(backbones.Backbone):
    """Model Garden's choice of backbones, and `torch_resnet`."""

    torch_resnet: TorchResNet = dataclasses.field(default_factory=TorchResNet)

    @property
    def is_resnet(self) -> bool:
        """Whether it has the stages that `frozen_stages` counts."""
        return self.type in ("resnet", "torch_resnet")

    @property
    def gives_pyramid(self) -> bool:
        """Whether its levels have as many channels each, so that none need be made."""
        return self.type in ("spinenet", "spinenet_mobile")

    @property
    def keeps_norm(self) -> bool:
        """Whether its BatchNorm, or a part of it, stays as it is initialised."""
        if self.type == "torch_resnet":
            return self.torch_resnet.norm != "batch"
        return self.type == "resnet" and not self.resnet.bn_trainable

    @property
    def norm_switch(self) -> str:
        """The setting of a ResNet that lets its BatchNorm move, and its value."""
        if self.type == "torch_resnet":
            return "torch_resnet.norm to batch"
        return "resnet.bn_trainable to true"


@dataclasses.dataclass
class TorchFPN(hyperparams.Config):
    """FPN of its paper: convolutions with bias, no norm, nearest upsampling.

    Attributes:
        num_filters: channels of all levels.
        extra_levels: how the levels above the backbone's are made:
            "max_pool" takes every second cell of the level below; the others put a 3x3
            convolution of stride 2 on the last level of the backbone ("on_input"), on
            its lateral ("on_lateral") or on the level below ("on_output").
        relu_before_extra_convs: ReLU between the extra convolutions.
    """

    num_filters: int = setting(256, low=1, high=2**16, unit="channels")
    extra_levels: str = setting("max_pool", choices=EXTRA_LEVELS)
    relu_before_extra_convs: bool = False


@dataclasses.dataclass
class Decoder(decoders.Decoder):
    """Model Garden's choice of decoders, and `torch_fpn`."""

    torch_fpn: TorchFPN = dataclasses.field(default_factory=TorchFPN)
