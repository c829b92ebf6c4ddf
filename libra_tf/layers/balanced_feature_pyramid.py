"""Balanced feature pyramid: all levels share one integrated, refined map."""

import tensorflow as tf
import tf_keras

from libra_tf.layers.initial_weights import seeded
from libra_tf.layers.levels import common_channels, sorted_levels
from libra_tf.layers.non_local import NonLocalBlock
from libra_tf.ops.resize import Size, adaptive_max_pool, nearest_resize, spatial_size

REFINEMENTS = (None, "conv", "non_local")


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class BalancedFeaturePyramid(tf_keras.layers.Layer):
    """Adds the refined mean of all levels to each level of a pyramid.

        S = 1/L * sum_l R(C_l)              gathered at the size of one level
        P_l = C_l + R'(refine(S))           scattered back to each size

    R takes adaptive max pooling for the finer levels and nearest for the others; R'
    the reverse. The refining level itself is never resized. Sizes need not divide.

    Args:
        refine: None, "conv" (3 x 3, bias, ReLU) or "non_local" (the paper's).
        refine_level: the level whose size S has, one of the keys of the input. The
            paper and the published detectors take 4.
        conv_out_initializer: of the non-local block, see `NonLocalBlock`. Even with
            "zeros" the pyramid is not the identity: P_l = C_l + R'(S).
        kernel_regularizer: for the kernels of the refinement.
        seed: of the initial kernels, see `seeded`; None draws from the global stream.

    The layer of the refinement is the attribute `refinement` (None without one).

    Call: `features`, dict of level ("3", "4", ...) -> [B, H_l, W_l, C], at least two
    levels, C the same for all -> dict with the same keys, shapes
    and types.

    Raises:
        ValueError: if `refine` is unknown, a key is not a number, there are less than
            two levels, `refine_level` is none of them, or the channels differ.

    Reference: Libra R-CNN (CVPR 2019), section 3.2, equation 3. The paper integrates
    {C2..C5}; the published detectors, like this layer, all levels that the FPN gives.
    """

    def __init__(
        self,
        refine: str | None = "non_local",
        refine_level: int = 4,
        conv_out_initializer: str | tf_keras.initializers.Initializer = "zeros",
        kernel_regularizer: tf_keras.regularizers.Regularizer | str | None = None,
        seed: int | None = None,
        **kwargs: object,
    ):
        super().__init__(**kwargs)
        if refine not in REFINEMENTS:
            raise ValueError(
                f"refine must be one of {', '.join(map(str, REFINEMENTS))}, "
                f"got {refine!r}"
            )
        self.refine = refine
        self.refine_level = int(refine_level)
        self.conv_out_initializer = tf_keras.initializers.get(conv_out_initializer)
        self.kernel_regularizer = tf_keras.regularizers.get(kernel_regularizer)
        self.seed = seed
        self.refinement = None

    def build(self, input_shape: dict[str, tf.TensorShape]) -> None:
        """Creates the refinement."""
        levels = sorted_levels(input_shape)
        if str(self.refine_level) not in levels:
            raise ValueError(
                f"refine_level {self.refine_level} is not among the levels "
                f"{', '.join(levels)}"
            )
        self.refinement = self._make_refinement(common_channels(input_shape))
        if self.refinement is not None:
            with tf.name_scope(self.refinement.name):
                self.refinement.build(input_shape[str(self.refine_level)])
        super().build(input_shape)

    def call(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the levels, each with the integrated map added."""
        integrated = self._integrate(features)
        if self.refinement is not None:
            integrated = self.refinement(integrated)
        return {
            level: feature + self._scatter(integrated, level, feature)
            for level, feature in features.items()
        }

    def compute_output_shape(
        self, input_shape: dict[str, tf.TensorShape]
    ) -> dict[str, tf.TensorShape]:
        """Returns the shapes of the input, which the layer keeps."""
        return {level: tf.TensorShape(shape) for level, shape in input_shape.items()}

    def get_config(self) -> dict:
        """Returns the arguments by name."""
        return {
            **super().get_config(),
            "refine": self.refine,
            "refine_level": self.refine_level,
            "conv_out_initializer": tf_keras.initializers.serialize(
                self.conv_out_initializer
            ),
            "kernel_regularizer": tf_keras.regularizers.serialize(
                self.kernel_regularizer
            ),
            "seed": self.seed,
        }

    def _make_refinement(self, channels: int) -> tf_keras.layers.Layer | None:
        if self.refine == "non_local":
            return NonLocalBlock(
                conv_out_initializer=self.conv_out_initializer,
                kernel_regularizer=self.kernel_regularizer,
                seed=self.seed,
                dtype=self.dtype_policy,
                name="non_local",
            )
        if self.refine == "conv":
            return tf_keras.layers.Conv2D(
                channels,
                3,
                padding="same",
                activation="relu",
                kernel_initializer=seeded(
                    "glorot_uniform", self.seed, "balanced_feature_pyramid/conv"
                ),
                kernel_regularizer=self.kernel_regularizer,
                dtype=self.dtype_policy,
                name="conv",
            )
        return None

    def _integrate(self, features: dict[str, tf.Tensor]) -> tf.Tensor:
        """Mean of all levels at the size of the refining one."""
        size = spatial_size(features[str(self.refine_level)])
        gathered = [
            self._gather(features[level], level, size)
            for level in sorted_levels(features)
        ]
        return tf.add_n(gathered) / len(gathered)

    def _gather(self, feature: tf.Tensor, level: str, size: Size) -> tf.Tensor:
        if int(level) < self.refine_level:
            return adaptive_max_pool(feature, size)
        return nearest_resize(feature, size)

    def _scatter(
        self, integrated: tf.Tensor, level: str, feature: tf.Tensor
    ) -> tf.Tensor:
        if int(level) < self.refine_level:
            return nearest_resize(integrated, spatial_size(feature))
        return adaptive_max_pool(integrated, spatial_size(feature))
