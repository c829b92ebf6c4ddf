"""Non-local block: every position attends to every other."""

import tensorflow as tf
import tf_keras

from libra_tf.layers.initial_weights import seeded

# As in mmdetection 3, and as in the code that the paper was run with.
CONV_OUT_INITIALIZERS = ("zeros", "glorot_uniform")


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class NonLocalBlock(tf_keras.layers.Layer):
    """Adds to each position what it gathers from all positions (embedded Gaussian).

        out = x + conv_out(softmax_j(theta(x_i) . phi(x_j)) g(x_j))

    `theta`, `phi`, `g` and `conv_out` are 1 x 1 convolutions with bias, without norm or
    activation. The logits are not divided by sqrt(channels), as in Libra R-CNN. Logits
    and softmax are computed in float32 under mixed precision.

    The attention takes (H W)^2 numbers per image: 64 MiB at 64 x 64.

    Args:
        reduction: >= 1; `theta`, `phi` and `g` have channels // reduction outputs.
        conv_out_initializer: "zeros" starts as the identity (mmdetection 3). The code
            of 2019 started from "glorot_uniform".
        kernel_regularizer: for the four kernels.
        seed: of the initial kernels, see `seeded`; None draws from the global stream.

    Call: `x` [B, H, W, C], any float type -> the same shape and type. C must be known.

    Raises:
        ValueError: if `reduction` < 1 or the channels are unknown.

    References: Wang et al., "Non-local Neural Networks", CVPR 2018, equations 1 and 6;
    Libra R-CNN (CVPR 2019), section 3.2.
    """

    def __init__(
        self,
        reduction: int = 1,
        conv_out_initializer: str | tf_keras.initializers.Initializer = "zeros",
        kernel_regularizer: tf_keras.regularizers.Regularizer | str | None = None,
        seed: int | None = None,
        **kwargs: object,
    ):
        super().__init__(**kwargs)
        if reduction < 1:
            raise ValueError(f"reduction must be at least 1, got {reduction}")
        self.reduction = reduction
        self.conv_out_initializer = tf_keras.initializers.get(conv_out_initializer)
        self.kernel_regularizer = tf_keras.regularizers.get(kernel_regularizer)
        self.seed = seed

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates the four convolutions."""
        channels = tf.TensorShape(input_shape)[-1]
        if channels is None:
            raise ValueError(f"the channels of x must be known, got {input_shape}")
        inner = max(channels // self.reduction, 1)
        self.theta = self._conv("theta", inner, self._embedding_initializer())
        self.phi = self._conv("phi", inner, self._embedding_initializer())
        self.g = self._conv("g", inner, self._embedding_initializer())
        self.conv_out = self._conv("conv_out", channels, self.conv_out_initializer)
        outer = tf.TensorShape([None, None, None, channels])
        for conv in (self.theta, self.phi, self.g):
            _build(conv, outer)
        _build(self.conv_out, outer[:-1].concatenate(inner))
        super().build(input_shape)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Returns [B, H, W, C], x with what all positions gave added."""
        # In float32 before the product: a dot product over 256 channels can leave
        # float16, and bfloat16 logits blur the softmax.
        queries = tf.cast(_flatten(self.theta(x)), tf.float32)
        keys = tf.cast(_flatten(self.phi(x)), tf.float32)
        values = _flatten(self.g(x))
        attention = tf.nn.softmax(tf.matmul(queries, keys, transpose_b=True))
        gathered = tf.matmul(tf.cast(attention, values.dtype), values)
        shape = tf.shape(x)
        gathered = tf.reshape(
            gathered, [shape[0], shape[1], shape[2], values.shape[-1]]
        )
        return x + self.conv_out(gathered)

    def compute_output_shape(self, input_shape: tf.TensorShape) -> tf.TensorShape:
        """Returns the shape of the input, which the layer keeps."""
        return tf.TensorShape(input_shape)

    def get_config(self) -> dict:
        """Returns the arguments by name."""
        return {
            **super().get_config(),
            "reduction": self.reduction,
            "conv_out_initializer": tf_keras.initializers.serialize(
                self.conv_out_initializer
            ),
            "kernel_regularizer": tf_keras.regularizers.serialize(
                self.kernel_regularizer
            ),
            "seed": self.seed,
        }

    def _conv(
        self, name: str, filters: int, initializer: tf_keras.initializers.Initializer
    ) -> tf_keras.layers.Conv2D:
        return tf_keras.layers.Conv2D(
            filters,
            1,
            kernel_initializer=seeded(initializer, self.seed, f"non_local/{name}"),
            kernel_regularizer=self.kernel_regularizer,
            dtype=self.dtype_policy,
            name=name,
        )

    @staticmethod
    def _embedding_initializer() -> tf_keras.initializers.Initializer:
        """N(0, 0.01), a fresh one for each kernel so that they differ."""
        return tf_keras.initializers.RandomNormal(stddev=0.01)


def _build(conv: tf_keras.layers.Conv2D, input_shape: tf.TensorShape) -> None:
    """Creates the weights now, so that `build` alone completes the block."""
    with tf.name_scope(conv.name):
        conv.build(input_shape)


def _flatten(x: tf.Tensor) -> tf.Tensor:
    """[B, H, W, C] -> [B, H * W, C]."""
    shape = tf.shape(x)
    return tf.reshape(x, [shape[0], shape[1] * shape[2], x.shape[-1]])
