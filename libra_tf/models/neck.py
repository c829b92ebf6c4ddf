"""Puts a neck behind the decoder (FPN) that Model Garden builds."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf
import tf_keras

from libra_tf.experiments import model_config
from libra_tf.layers import BalancedFeaturePyramid


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class DecoderWithNeck(tf_keras.Model):
    """A decoder followed by a neck that keeps its levels and channels.

    Args:
      decoder: maps a dict of features to a dict of levels; has `output_specs`.
      neck: layer that maps the dict of levels to a dict of the same shapes.
    """

    def __init__(self, decoder: tf_keras.Model, neck: tf_keras.layers.Layer, **kwargs):
        super().__init__(**kwargs)
        self.decoder = decoder
        self.neck = neck

    def call(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return self.neck(self.decoder(features))

    @property
    def output_specs(self) -> Mapping[str, tf.TensorShape]:
        """Shapes of the levels, as of the decoder."""
        return self.decoder.output_specs

    def get_config(self) -> dict:
        return {"decoder": self.decoder, "neck": self.neck}

    @classmethod
    def from_config(cls, config: dict) -> DecoderWithNeck:
        return cls(**config)


def add_neck(
    decoder: tf_keras.Model,
    config: model_config.Neck,
    kernel_regularizer: tf_keras.regularizers.Regularizer | None = None,
) -> tf_keras.Model:
    """Returns `decoder` itself for type "none", else the decoder with the neck."""
    if config.type == "none":
        return decoder
    neck = BalancedFeaturePyramid(
        refine=None if config.refine == "none" else config.refine,
        refine_level=config.refine_level,
        conv_out_initializer=config.conv_out_initializer,
        kernel_regularizer=kernel_regularizer,
        name="balanced_feature_pyramid",
    )
    # A first call on symbolic inputs creates the weights.
    neck({level: tf_keras.Input(s[1:]) for level, s in decoder.output_specs.items()})
    return DecoderWithNeck(decoder, neck, name="decoder_with_neck")


def checkpoint_parts(
    parts: Mapping[str, tf_keras.layers.Layer],
) -> dict[str, tf_keras.layers.Layer]:
    """Returns a model's parts by name, decoder and neck apart.

    The FPN stays `decoder`, so that stock checkpoints fit.
    """
    decoder = parts.get("decoder")
    if not isinstance(decoder, DecoderWithNeck):
        return dict(parts)
    return {**parts, "decoder": decoder.decoder, "neck": decoder.neck}
