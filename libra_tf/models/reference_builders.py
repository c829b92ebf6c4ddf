"""Backbone and decoder of form "reference" for Model Garden's factories.

Configs name them by type: `torch_resnet` and `torch_fpn`.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf
import tf_keras
from official.vision.configs import common
from official.vision.modeling.backbones import factory as backbones
from official.vision.modeling.decoders import factory as decoders

from libra_tf.experiments.backbone_config import Backbone
from libra_tf.experiments.detector_config import MaskRCNNParts, RetinaNetParts
from libra_tf.layers.torch_fpn import TorchFPN
from libra_tf.layers.torch_resnet import TorchResNet


@backbones.register_backbone_builder("torch_resnet")
def build_torch_resnet(
    input_specs: tf_keras.layers.InputSpec,
    backbone_config: Backbone,
    norm_activation_config: common.NormActivation,
    l2_regularizer: tf_keras.regularizers.Regularizer | None = None,
) -> TorchResNet:
    """Builds the backbone; its norm and activation are not a matter of choice."""
    del norm_activation_config
    config = backbone_config.get()
    return TorchResNet(
        depth=config.model_id,
        base_channels=config.base_channels,
        groups=config.groups,
        width_per_group=config.width_per_group,
        norm=config.norm,
        input_specs=input_specs,
        kernel_regularizer=l2_regularizer,
        name="torch_resnet",
    )


@decoders.register_decoder_builder("torch_fpn")
def build_torch_fpn(
    input_specs: Mapping[str, tf.TensorShape],
    model_config: MaskRCNNParts | RetinaNetParts,
    l2_regularizer: tf_keras.regularizers.Regularizer | None = None,
) -> TorchFPN:
    """Builds the decoder."""
    config = model_config.decoder.get()
    return TorchFPN(
        input_specs=input_specs,
        min_level=model_config.min_level,
        max_level=model_config.max_level,
        num_filters=config.num_filters,
        extra_levels=config.extra_levels,
        relu_before_extra_convs=config.relu_before_extra_convs,
        kernel_regularizer=l2_regularizer,
        name="torch_fpn",
    )
