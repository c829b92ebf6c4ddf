"""Puts a neck behind the decoder (FPN) that Model Garden builds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf
import tf_keras

from libra_tf.experiments import model_config
from libra_tf.layers import BalancedFeaturePyramid
from libra_tf.layers.path_aggregation import PathAggregation


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class DecoderWithNeck(tf_keras.Model):
    """A decoder followed by a neck that keeps its levels and channels.

    Args:
        decoder: maps a dict of features to a dict of levels; has `output_specs`.
        neck: layer that maps the dict of levels to a dict of the same shapes.
    """

    def __init__(
        self, decoder: tf_keras.Model, neck: tf_keras.layers.Layer, **kwargs: object
    ):
        super().__init__(**kwargs)
        self.decoder = decoder
        self.neck = neck

    def call(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the levels of the neck, of the backbone's features."""
        return self.neck(self.decoder(features))

    @property
    def output_specs(self) -> Mapping[str, tf.TensorShape]:
        """Shapes of the levels, as of the decoder."""
        return self.decoder.output_specs

    def get_config(self) -> dict:
        """Returns the arguments by name."""
        return {"decoder": self.decoder, "neck": self.neck}

    @classmethod
    def from_config(cls, config: dict) -> DecoderWithNeck:
        """Returns the model of `get_config`."""
        return cls(**config)


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class NeckChain(tf_keras.layers.Layer):
    """One neck after the other.

    Args:
        necks: layers that map a dict of levels to a dict of the same shapes.
    """

    def __init__(self, necks: Sequence[tf_keras.layers.Layer], **kwargs: object):
        super().__init__(**kwargs)
        self.necks = list(necks)

    def call(self, features: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
        """Returns the levels of the last neck."""
        for neck in self.necks:
            features = neck(features)
        return features

    def get_config(self) -> dict:
        """Returns the arguments by name."""
        necks = [tf_keras.layers.serialize(neck) for neck in self.necks]
        return {**super().get_config(), "necks": necks}

    @classmethod
    def from_config(cls, config: dict) -> NeckChain:
        """Returns the layer of `get_config`."""
        necks = [tf_keras.layers.deserialize(neck) for neck in config["necks"]]
        return cls(**{**config, "necks": necks})


def build_neck(
    config: model_config.Neck,
    kernel_regularizer: tf_keras.regularizers.Regularizer | None = None,
    seed: int | None = None,
) -> tf_keras.layers.Layer:
    """Builds the neck of a type other than "none".

    Args:
        config: "path_aggregation" is PAFPN, "balanced_path_aggregation" the balanced
            feature pyramid behind it (Libra R-CNN, section 4.3).
        kernel_regularizer: weight decay of all kernels.
        seed: of the initial kernels; None draws from the global stream.
    """
    common = {"kernel_regularizer": kernel_regularizer, "seed": seed}
    layers = {
        PathAggregation: PathAggregation(name="path_aggregation", **common),
        BalancedFeaturePyramid: BalancedFeaturePyramid(
            refine=config.refinement,
            refine_level=config.refine_level,
            conv_out_initializer=config.conv_out_initializer,
            name="balanced_feature_pyramid",
            **common,
        ),
    }
    chain = [layers[kind] for kind in config.layers]
    return chain[0] if len(chain) == 1 else NeckChain(chain, name=config.type)


def add_neck(
    decoder: tf_keras.Model,
    config: model_config.Neck,
    kernel_regularizer: tf_keras.regularizers.Regularizer | None = None,
    seed: int | None = None,
) -> tf_keras.Model:
    """Returns `decoder` itself for type "none", else the decoder with the neck.

    See `build_neck`.
    """
    if config.type == "none":
        return decoder
    neck = build_neck(config, kernel_regularizer, seed)
    # A first call on symbolic inputs creates the weights.
    neck({level: tf_keras.Input(s[1:]) for level, s in decoder.output_specs.items()})
    return DecoderWithNeck(decoder, neck, name="decoder_with_neck")


def checkpoint_parts(
    parts: Mapping[str, tf_keras.layers.Layer],
) -> dict[str, tf_keras.layers.Layer]:
    """Returns a model's parts by name, decoder and neck apart.

    The FPN stays `decoder`, so that stock checkpoints fit. A chain is one `neck`.
    """
    decoder = parts.get("decoder")
    if not isinstance(decoder, DecoderWithNeck):
        return dict(parts)
    return {**parts, "decoder": decoder.decoder, "neck": decoder.neck}
