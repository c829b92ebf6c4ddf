"""ResNet and ResNeXt as torchvision and mmdetection compute them."""

from __future__ import annotations

import dataclasses
import functools
import math

import tensorflow as tf
import tf_keras

# Residual blocks of each stage, by depth (He et al., CVPR 2016, table 1).
STAGE_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
EXPANSION = 4  # of a bottleneck: outer channels by inner ones
NORMS = ("fixed", "fixed_statistics", "batch")
FIRST_LEVEL = 2  # the first stage has stride 2**2
NORM_EPSILON, NORM_MOMENTUM = 1e-5, 0.9  # PyTorch's, whose momentum is 1 - ours

# As torchvision and mmdetection (`kaiming_init`).
_INITIALIZER = {"scale": 2.0, "mode": "fan_out", "distribution": "untruncated_normal"}


@dataclasses.dataclass(frozen=True)
class ResNetShape:
    """What the sizes of all weights follow from.

    Attributes:
        depth: 50, 101 or 152.
        base_channels: channels of the stem, and inside the first stage without groups.
        groups: of the 3x3 convolutions.
        width_per_group: channels of a group in the first stage, if there are groups.
    """

    depth: int = 50
    base_channels: int = 64
    groups: int = 1
    width_per_group: int = 4

    def __post_init__(self):
        if self.depth not in STAGE_BLOCKS:
            raise ValueError(
                f"depth must be one of {list(STAGE_BLOCKS)}, got {self.depth}"
            )
        for name in ("base_channels", "groups", "width_per_group"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")

    def inner(self, stage: int) -> int:
        """Channels of the 3x3 convolutions of stage 0, 1, 2 or 3."""
        planes = self.base_channels * 2**stage
        if self.groups == 1:
            return planes
        per_group = planes * self.width_per_group / self.base_channels
        return math.floor(per_group) * self.groups

    def outer(self, stage: int) -> int:
        """Channels that a stage gives."""
        return self.base_channels * 2**stage * EXPANSION


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class GroupedConv2D(tf_keras.layers.Conv2D):
    """Convolution whose groups are computed by TensorFlow's own kernel.

    Keras compiles grouped convolutions with XLA, for each size of input again; on a
    CPU the result is ten times slower forward, and a hundred times backward. Without
    oneDNN, TensorFlow on a CPU neither differentiates grouped convolutions nor fuses
    them with what follows: there each group is a convolution of its own.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the convolution with bias, without activation."""
        if self.groups == 1:
            return super().call(inputs)
        if has_grouped_gradient():
            outputs = self.convolution_op(inputs, self.kernel)
        else:
            outputs = self._convolve_each_group(inputs)
        return outputs if self.bias is None else tf.nn.bias_add(outputs, self.bias)

    def _convolve_each_group(self, inputs: tf.Tensor) -> tf.Tensor:
        parts = (tf.split(x, self.groups, axis=-1) for x in (inputs, self.kernel))
        outputs = [self.convolution_op(*part) for part in zip(*parts, strict=True)]
        return tf.concat(outputs, axis=-1)


@functools.cache
def has_grouped_gradient() -> bool:
    """Whether TensorFlow differentiates grouped convolutions on this machine.

    It does on GPUs, and on CPUs where it uses oneDNN, which depends on the processor
    and on `TF_ENABLE_ONEDNN_OPTS`.
    """
    with tf.init_scope():
        x, kernel = tf.ones([1, 2, 2, 2]), tf.ones([1, 1, 1, 2])
        try:
            tf.raw_ops.Conv2DBackpropFilter(
                input=x,
                filter_sizes=tf.shape(kernel),
                out_backprop=x,
                strides=[1, 1, 1, 1],
                padding="VALID",
            )
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
            return False
    return True


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class TorchResNet(tf_keras.Model):
    """Backbone of bottlenecks with stride 2 in the 3x3 convolution.

    Convolutions with stride, and the max pooling of the stem, pad both sides alike;
    TensorFlow's "same" would pad the ends only. Each layer with weights has the name
    that its weights have in PyTorch, such as "layer1.0.conv2".

    Args:
        depth: 50, 101 or 152.
        base_channels: see `ResNetShape`.
        groups: see `ResNetShape`.
        width_per_group: see `ResNetShape`.
        norm: "fixed" changes nothing of a BatchNorm, "fixed_statistics" trains scale
            and offset, "batch" is plain BatchNorm.
        input_specs: of the images, [batch, height, width, channels]; sizes may be None.
        kernel_regularizer: of all kernels.

    Call: images [B, H, W, 3] -> {"2": [B, H/4, W/4, C], ..., "5": [B, H/32, W/32, 8C]},
    sizes rounded up.

    Raises:
        ValueError: unknown depth or norm, or a size below 1.

    References: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016;
    Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", CVPR
    2017; torchvision `resnet.py`; mmdetection `ResNet` and `ResNeXt`, style "pytorch".
    """

    def __init__(
        self,
        depth: int = 50,
        base_channels: int = 64,
        groups: int = 1,
        width_per_group: int = 4,
        norm: str = "fixed_statistics",
        input_specs: tf_keras.layers.InputSpec | None = None,
        kernel_regularizer: tf_keras.regularizers.Regularizer | None = None,
        **kwargs: object,
    ):
        if norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")
        shape = ResNetShape(depth, base_channels, groups, width_per_group)
        if input_specs is None:
            input_specs = tf_keras.layers.InputSpec(shape=[None, None, None, 3])
        inputs = tf_keras.Input(shape=input_specs.shape[1:])
        builder = _Builder(norm, kernel_regularizer)
        outputs = builder.stages(builder.stem(inputs, base_channels), shape)
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        self._output_specs = {level: x.shape for level, x in outputs.items()}
        self._config_dict = {
            **dataclasses.asdict(shape),
            "norm": norm,
            "input_specs": input_specs,
            "kernel_regularizer": kernel_regularizer,
            "name": self.name,
        }

    @property
    def output_specs(self) -> dict[str, tf.TensorShape]:
        """Shapes of the levels."""
        return self._output_specs

    def get_config(self) -> dict:
        """Returns the arguments by name."""
        return self._config_dict

    @classmethod
    def from_config(
        cls, config: dict, custom_objects: dict | None = None
    ) -> TorchResNet:
        """Returns the backbone of `get_config`."""
        return cls(**config)


class _Builder:
    """Adds layers to a functional model."""

    def __init__(
        self,
        norm: str,
        kernel_regularizer: tf_keras.regularizers.Regularizer | None,
    ):
        self._norm, self._regularizer = norm, kernel_regularizer

    def stem(self, x: tf.Tensor, channels: int) -> tf.Tensor:
        x = self._conv(x, channels, 7, "conv1", stride=2)
        x = tf_keras.layers.ReLU(name="relu")(self._normalize(x, "bn1"))
        # Zeros are as good as no padding: nothing is below 0 here.
        x = tf_keras.layers.ZeroPadding2D(1, name="maxpool.pad")(x)
        return tf_keras.layers.MaxPool2D(3, 2, name="maxpool")(x)

    def stages(self, x: tf.Tensor, shape: ResNetShape) -> dict[str, tf.Tensor]:
        outputs = {}
        for stage, blocks in enumerate(STAGE_BLOCKS[shape.depth]):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                x = self._bottleneck(
                    x, shape, stage, stride, f"layer{stage + 1}.{block}", not block
                )
            level = FIRST_LEVEL + stage
            # Model Garden's name for the end of a stage.
            end = tf_keras.layers.Activation("linear", name=f"block_group_l{level}")
            outputs[str(level)] = x = end(x)
        return outputs

    def _bottleneck(
        self,
        x: tf.Tensor,
        shape: ResNetShape,
        stage: int,
        stride: int,
        name: str,
        is_first: bool,
    ) -> tf.Tensor:
        inner, outer = shape.inner(stage), shape.outer(stage)
        relu = tf_keras.layers.ReLU
        shortcut = x
        if is_first:
            shortcut = self._conv(x, outer, 1, f"{name}.downsample.0", stride)
            shortcut = self._normalize(shortcut, f"{name}.downsample.1")
        y = self._normalize(self._conv(x, inner, 1, f"{name}.conv1"), f"{name}.bn1")
        y = relu(name=f"{name}.relu1")(y)
        y = self._conv(y, inner, 3, f"{name}.conv2", stride, shape.groups)
        y = relu(name=f"{name}.relu2")(self._normalize(y, f"{name}.bn2"))
        y = self._normalize(self._conv(y, outer, 1, f"{name}.conv3"), f"{name}.bn3")
        y = tf_keras.layers.Add(name=f"{name}.add")([y, shortcut])
        return relu(name=f"{name}.relu3")(y)

    def _conv(
        self,
        x: tf.Tensor,
        filters: int,
        size: int,
        name: str,
        stride: int = 1,
        groups: int = 1,
    ) -> tf.Tensor:
        if size > 1:
            x = tf_keras.layers.ZeroPadding2D(size // 2, name=f"{name}.pad")(x)
        return GroupedConv2D(
            filters,
            size,
            strides=stride,
            groups=groups,
            use_bias=False,
            kernel_initializer=tf_keras.initializers.VarianceScaling(**_INITIALIZER),
            kernel_regularizer=self._regularizer,
            name=name,
        )(x)

    def _normalize(self, x: tf.Tensor, name: str) -> tf.Tensor:
        norm = tf_keras.layers.BatchNormalization(
            momentum=NORM_MOMENTUM, epsilon=NORM_EPSILON, name=name
        )
        if self._norm == "batch":
            return norm(x)
        norm.trainable = self._norm == "fixed_statistics"
        return norm(x, training=False)
