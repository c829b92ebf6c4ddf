"""Path aggregation: what the finest level knows reaches the coarsest in few steps."""

import itertools

import tensorflow as tf
import tf_keras

from libra_tf.layers.initial_weights import seeded
from libra_tf.layers.levels import common_channels, sorted_levels

_KERNEL = 3
_STRIDE = 2
_PADDING = [[0, 0], [1, 1], [1, 1], [0, 0]]


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class PathAggregation(tf_keras.layers.Layer):
    """Adds a bottom-up path to a pyramid (the necks PANet and PAFPN).

        N_first = P_first
        N_{l+1} = P_{l+1} + downsample_{l+1}(N_l)
        outputs: N_first as it is, output_l(N_l) for the other levels

    `downsample` (stride 2) and `output` are 3 x 3 convolutions with bias, without norm
    or activation. Both pad one cell on each side, as the reference: the windows of
    `downsample` are centred on the even cells, whether or not the size is even.

    Args:
        kernel_regularizer: for all kernels.
        seed: of the initial kernels, see `seeded`; None draws from the global stream.

    Call: `features`, dict of level ("3", "4", ...) -> [B, H_l, W_l, C], at least two
    levels, H_l and W_l known, C the same for all; the size of each level is the half
    of the one before, rounded up -> dict with the same keys, shapes and types.

    Raises:
        ValueError: if a key is not a number, there are less than two levels, the
            channels differ, or a level is not half the one before.

    References: Liu et al., "Path Aggregation Network for Instance Segmentation", CVPR
    2018, section 3.1; mmdetection, `PAFPN`, whose defaults these are.

    Deviations: in the paper ReLU follows each convolution, and the path goes on from
    the results of `output`. Paper and mmdetection have the path between the levels of
    the backbone, up to N5, and mmdetection makes N6 and N7 without it. Here all given
    levels take part, as in `BalancedFeaturePyramid`.
    """

    def __init__(
        self,
        kernel_regularizer: tf_keras.regularizers.Regularizer | str | None = None,
        seed: int | None = None,
        **kwargs: object,
    ):
        super().__init__(**kwargs)
        self.kernel_regularizer = tf_keras.regularizers.get(kernel_regularizer)
        self.seed = seed

    def build(self, input_shape: dict[str, tf.TensorShape]) -> None:
        """Creates the convolutions of all levels but the finest."""
        channels = common_channels(input_shape)
        coarser = sorted_levels(input_shape)[1:]
        self.downsample = {
            level: self._conv(f"downsample_{level}", channels, _STRIDE, "valid")
            for level in coarser
        }
        self.output_convs = {
            level: self._conv(f"output_{level}", channels, 1, "same")
            for level in coarser
        }
        super().build(input_shape)

    def call(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the levels of the bottom-up path."""
        levels = sorted_levels(features)
        _check_sizes(features, levels)
        current = features[levels[0]]
        outputs = {levels[0]: current}
        for level in levels[1:]:
            padded = tf.pad(current, _PADDING)
            current = features[level] + self.downsample[level](padded)
            outputs[level] = self.output_convs[level](current)
        return {level: outputs[level] for level in features}

    def compute_output_shape(
        self, input_shape: dict[str, tf.TensorShape]
    ) -> dict[str, tf.TensorShape]:
        """Returns the shapes of the input, which the layer keeps."""
        return {level: tf.TensorShape(shape) for level, shape in input_shape.items()}

    def get_config(self) -> dict:
        """Returns the arguments by name."""
        return {
            **super().get_config(),
            "kernel_regularizer": tf_keras.regularizers.serialize(
                self.kernel_regularizer
            ),
            "seed": self.seed,
        }

    def _conv(
        self, name: str, channels: int, stride: int, padding: str
    ) -> tf_keras.layers.Conv2D:
        conv = tf_keras.layers.Conv2D(
            channels,
            _KERNEL,
            strides=stride,
            padding=padding,
            kernel_initializer=seeded(
                "glorot_uniform", self.seed, f"path_aggregation/{name}"
            ),
            kernel_regularizer=self.kernel_regularizer,
            dtype=self.dtype_policy,
            name=name,
        )
        with tf.name_scope(name):
            conv.build([None, None, None, channels])
        return conv


def _check_sizes(features: dict[str, tf.Tensor], levels: list[str]) -> None:
    sizes = {level: tuple(features[level].shape[1:3]) for level in levels}
    for finer, coarser in itertools.pairwise(levels):
        if None in sizes[finer] or None in sizes[coarser]:
            raise ValueError(f"height and width of levels must be known, got {sizes}")
        half = tuple(-(-size // _STRIDE) for size in sizes[finer])
        if sizes[coarser] != half:
            raise ValueError(
                f"level {coarser} must have the size {half}, half of level {finer} "
                f"rounded up, got {sizes[coarser]}"
            )
