"""Residual objectness: a classifier of objects beside an answer to "is it one?"."""

from __future__ import annotations

import math

import tensorflow as tf
import tf_keras

from libra_tf.layers.initial_weights import seeded

# chenjoya/resobj: an object with probability 0.001, for each of the two predictors.
# Their logits are added, so that the score starts at 1e-6.
OBJECTNESS_BIAS = -math.log(999)
KERNEL_SIZE = 3
_PREDICTOR_STDDEV = 0.01


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class ResidualObjectness(tf_keras.layers.Layer):
    """Predicts objectness in two steps, the second added to the first, and classes.

        first  = ReLU(layer(x))
        second = ReLU(layer(first))
        objectness = predictor(first) + predictor(second)
        classes    = predictor(x)

    All are logits, `objectness` one and `classes` num_classes - 1 for each anchor. The
    layers keep the channels of x.

    Args:
        num_classes: >= 2, the background (class 0) included.
        num_anchors: >= 1, predictions for each position of x.
        kernel_size: of the convolutions; None for dense layers, on x of any rank >= 2.
        objectness_bias: initial bias of each of the two predictors of objectness, so
            that the initial probability of an object is sigmoid(2 * objectness_bias).
        class_bias: initial bias of the classes; None for the prior 1 / C, with C =
            num_classes - 1 classes of objects: -ln(C - 1), and 0 for C = 1.
        kernel_regularizer: for all kernels.
        bias_regularizer: for all biases.
        seed: of the initial kernels, see `seeded`; None draws from the global stream.

    Call: `x` [B, H, W, D], any float type, D known -> [B, H, W, num_anchors *
    num_classes] of the same type. Of the `num_classes` channels of an anchor the first
    is the objectness, where other classifiers have the background, the rest are the
    classes.

    Raises:
        ValueError: if an argument is out of its range or the channels are unknown.

    Reference: Chen et al., "Residual Objectness for Imbalance Reduction", Pattern
    Recognition 2022 (arXiv 1908.09075); the
    released `chenjoya/resobj` (RetinaNet, one residual step), whose layers and start
    these are: predictors N(0, 0.01), layers U(-D_in^-1/2, D_in^-1/2) with D_in inputs,
    PyTorch's start of a convolution. Deviation: the biases of the layers start at 0.
    """

    def __init__(
        self,
        num_classes: int,
        num_anchors: int = 1,
        kernel_size: int | None = KERNEL_SIZE,
        objectness_bias: float = OBJECTNESS_BIAS,
        class_bias: float | None = None,
        kernel_regularizer: tf_keras.regularizers.Regularizer | str | None = None,
        bias_regularizer: tf_keras.regularizers.Regularizer | str | None = None,
        seed: int | None = None,
        **kwargs: object,
    ):
        super().__init__(**kwargs)
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes}")
        if num_anchors < 1:
            raise ValueError(f"num_anchors must be at least 1, got {num_anchors}")
        if kernel_size is not None and kernel_size < 1:
            raise ValueError(f"kernel_size must be None or >= 1, got {kernel_size}")
        self.num_classes = num_classes
        self.num_anchors = num_anchors
        self.kernel_size = kernel_size
        self.objectness_bias = objectness_bias
        self.class_bias = class_bias
        self.kernel_regularizer = tf_keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = tf_keras.regularizers.get(bias_regularizer)
        self.seed = seed

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates the layers and the predictors."""
        shape = tf.TensorShape(input_shape)
        width = shape[-1]
        if width is None:
            raise ValueError(f"the channels of x must be known, got {input_shape}")
        num_objects = self.num_classes - 1
        class_bias = self.class_bias
        if class_bias is None:
            class_bias = -math.log(max(num_objects - 1, 1))
        self.first = self._hidden("first", width)
        self.second = self._hidden("second", width)
        self.first_score = self._predictor("first_score", 1, self.objectness_bias)
        self.second_score = self._predictor("second_score", 1, self.objectness_bias)
        self.class_score = self._predictor("class_score", num_objects, class_bias)
        for layer in (
            self.first,
            self.second,
            self.first_score,
            self.second_score,
            self.class_score,
        ):
            # Created now, so that `build` alone completes the layer.
            with tf.name_scope(layer.name):
                layer.build(shape)
        super().build(input_shape)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Returns [B, H, W, num_anchors * num_classes], objectness first."""
        first = self.first(x)
        second = self.second(first)
        objectness = self.first_score(first) + self.second_score(second)
        objectness = self._per_anchor(objectness, 1)
        classes = self._per_anchor(self.class_score(x), self.num_classes - 1)
        joined = tf.concat([objectness, classes], axis=-1)
        channels = self.num_anchors * self.num_classes
        shape = tf.concat([tf.shape(x)[:-1], [channels]], axis=0)
        return tf.ensure_shape(tf.reshape(joined, shape), [*x.shape[:-1], channels])

    def compute_output_shape(self, input_shape: tf.TensorShape) -> tf.TensorShape:
        """Returns the shape of x with the channels of the predictions."""
        channels = self.num_anchors * self.num_classes
        return tf.TensorShape(input_shape)[:-1].concatenate(channels)

    def get_config(self) -> dict:
        """Returns the arguments by name."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "num_anchors": self.num_anchors,
            "kernel_size": self.kernel_size,
            "objectness_bias": self.objectness_bias,
            "class_bias": self.class_bias,
            "kernel_regularizer": tf_keras.regularizers.serialize(
                self.kernel_regularizer
            ),
            "bias_regularizer": tf_keras.regularizers.serialize(self.bias_regularizer),
            "seed": self.seed,
        }

    def _per_anchor(self, logits: tf.Tensor, count: int) -> tf.Tensor:
        """[..., A * count] -> [..., A, count]."""
        shape = tf.concat([tf.shape(logits)[:-1], [self.num_anchors, count]], axis=0)
        return tf.reshape(logits, shape)

    def _hidden(self, name: str, width: int) -> tf_keras.layers.Layer:
        # Limit sqrt(3 * scale / fan_in): with a third, PyTorch's default.
        start = tf_keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
        return self._layer(name, width, start, "zeros", activation="relu")

    def _predictor(self, name: str, count: int, bias: float) -> tf_keras.layers.Layer:
        return self._layer(
            name,
            self.num_anchors * count,
            tf_keras.initializers.RandomNormal(stddev=_PREDICTOR_STDDEV),
            tf_keras.initializers.Constant(bias),
        )

    def _layer(
        self,
        name: str,
        width: int,
        kernel_initializer: tf_keras.initializers.Initializer,
        bias_initializer: str | tf_keras.initializers.Initializer,
        activation: str | None = None,
    ) -> tf_keras.layers.Layer:
        settings = {
            "kernel_initializer": seeded(
                kernel_initializer, self.seed, f"residual_objectness/{name}"
            ),
            "bias_initializer": bias_initializer,
            "kernel_regularizer": self.kernel_regularizer,
            "bias_regularizer": self.bias_regularizer,
            "activation": activation,
            "dtype": self.dtype_policy,
            "name": name,
        }
        if self.kernel_size is None:
            return tf_keras.layers.Dense(width, **settings)
        return tf_keras.layers.Conv2D(
            width, self.kernel_size, padding="same", **settings
        )
