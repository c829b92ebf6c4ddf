"""Feature pyramid network as mmdetection computes it."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf
import tf_keras

from libra_tf.layers.levels import sorted_levels
from libra_tf.ops.resize import nearest_resize, spatial_size

EXTRA_LEVELS = ("max_pool", "on_input", "on_lateral", "on_output")


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class TorchFPN(tf_keras.Model):
    """Top-down pyramid of convolutions with bias, without norm and activation.

        L_l = lateral_l(C_l) + nearest(L_{l+1}),   P_l = output_l(L_l)

    Upsampling is to the size of the finer level, which need not be twice the coarser.

    Args:
        input_specs: shape of each level of the backbone, [batch, height, width,
            channels]; sizes may be None.
        min_level: finest level of the pyramid, one of the backbone's.
        max_level: coarsest level; those above the backbone's are extra.
        num_filters: channels of all levels.
        extra_levels: "max_pool" takes every second cell of the level below. The others
            are 3x3 convolutions of stride 2, each on the one below; the first is on the
            last level of the backbone ("on_input"), its lateral ("on_lateral") or its
            output ("on_output").
        relu_before_extra_convs: ReLU before every extra convolution but the first.
        kernel_regularizer: of all kernels.

    Call: {level: [B, H, W, C]} of the backbone -> {level: [B, H, W, num_filters]}.

    Raises:
        ValueError: a level is not there, or `extra_levels` is unknown.

    References: Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017;
    mmdetection `FPN`.
    """

    def __init__(
        self,
        input_specs: Mapping[str, tf.TensorShape],
        min_level: int = 2,
        max_level: int = 6,
        num_filters: int = 256,
        extra_levels: str = "max_pool",
        relu_before_extra_convs: bool = False,
        kernel_regularizer: tf_keras.regularizers.Regularizer | None = None,
        **kwargs: object,
    ):
        if extra_levels not in EXTRA_LEVELS:
            raise ValueError(
                f"extra_levels must be one of {', '.join(EXTRA_LEVELS)}, got "
                f"{extra_levels!r}"
            )
        if str(min_level) not in input_specs:
            raise ValueError(
                f"min_level {min_level} is not among the backbone's levels "
                f"{', '.join(input_specs)}"
            )
        self._config_dict = {
            "input_specs": dict(input_specs),
            "min_level": min_level,
            "max_level": max_level,
            "num_filters": num_filters,
            "extra_levels": extra_levels,
            "relu_before_extra_convs": relu_before_extra_convs,
            "kernel_regularizer": kernel_regularizer,
        }
        inputs = {k: tf_keras.Input(shape[1:]) for k, shape in input_specs.items()}
        outputs = self._pyramid(inputs, min_level, max_level, extra_levels)
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        self._output_specs = {level: x.shape for level, x in outputs.items()}

    def _pyramid(
        self, inputs: Mapping[str, tf.Tensor], first: int, last: int, extra_levels: str
    ) -> dict[str, tf.Tensor]:
        levels = [k for k in sorted_levels(inputs) if first <= int(k) <= last]
        lateral = {}
        for level in reversed(levels):
            lateral[level] = self._conv(f"lateral_{level}", 1)(inputs[level])
            above = str(int(level) + 1)
            if above in lateral:
                up = NearestLike(name=f"up_{level}")([lateral[above], lateral[level]])
                added = tf_keras.layers.Add(name=f"merge_{level}")
                lateral[level] = added([lateral[level], up])
        outputs = {k: self._conv(f"output_{k}", 3)(lateral[k]) for k in levels}
        top = levels[-1]
        sources = {
            "on_input": inputs[top],
            "on_lateral": lateral[top],
            "on_output": outputs[top],
        }
        x = sources.get(extra_levels, outputs[top])
        first_extra = int(top) + 1
        for extra in range(first_extra, last + 1):
            outputs[str(extra)] = x = self._extra(x, extra, extra == first_extra)
        return outputs

    def _extra(self, x: tf.Tensor, level: int, is_first: bool) -> tf.Tensor:
        config = self._config_dict
        if config["extra_levels"] == "max_pool":
            return tf_keras.layers.MaxPool2D(1, 2, name=f"pool_{level}")(x)
        if config["relu_before_extra_convs"] and not is_first:
            x = tf_keras.layers.ReLU(name=f"relu_{level}")(x)
        x = tf_keras.layers.ZeroPadding2D(1, name=f"pad_{level}")(x)
        return self._conv(f"output_{level}", 3, stride=2)(x)

    def _conv(self, name: str, size: int, stride: int = 1) -> tf_keras.layers.Conv2D:
        return tf_keras.layers.Conv2D(
            self._config_dict["num_filters"],
            size,
            strides=stride,
            padding="same" if stride == 1 else "valid",
            kernel_initializer="glorot_uniform",  # mmdetection's "xavier"
            kernel_regularizer=self._config_dict["kernel_regularizer"],
            name=name,
        )

    @property
    def output_specs(self) -> dict[str, tf.TensorShape]:
        """Shapes of the levels."""
        return self._output_specs

    def get_config(self) -> dict:
        """Returns the arguments by name."""
        return {**self._config_dict, "name": self.name}

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> TorchFPN:
        """Returns the pyramid of `get_config`."""
        return cls(**config)


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class NearestLike(tf_keras.layers.Layer):
    """Resizes the first of two maps to the size of the second, see `nearest_resize`.

    Call: [[B, h, w, C], [B, H, W, any]] -> [B, H, W, C].
    """

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Returns the first map at the size of the second."""
        x, like = inputs
        return nearest_resize(x, spatial_size(like))
