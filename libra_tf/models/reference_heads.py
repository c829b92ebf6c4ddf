"""Model Garden's heads without BatchNorm, as the published detectors have them."""

from __future__ import annotations

import tf_keras
from official.vision.modeling.heads import dense_prediction_heads, instance_heads

from libra_tf.models.heads import (
    ResidualObjectnessDetectionHead,
    ResidualObjectnessRetinaNetHead,
)


class _WithoutNorm:
    """Puts layers that do nothing in the place of the norms of a head."""

    norms: tuple[str, ...]

    def build(self, input_shape) -> None:
        super().build(input_shape)
        for name in self.norms:
            # Norms that were never called have no weights.
            setattr(self, name, _nothing(getattr(self, name)))


def _nothing(norms: list) -> list:
    return [
        _nothing(norm)
        if isinstance(norm, list | tuple)
        else tf_keras.layers.Activation("linear")
        for norm in norms
    ]


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class PlainRPNHead(_WithoutNorm, dense_prediction_heads.RPNHead):
    """RPN head: 3x3 convolutions with ReLU, shared by the levels, and two 1x1."""

    norms = ("_norms",)


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class PlainResidualObjectnessRetinaNetHead(
    _WithoutNorm, ResidualObjectnessRetinaNetHead
):
    """`PlainRetinaNetHead` with residual objectness."""

    norms = ("_cls_norms", "_box_norms")


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class PlainRetinaNetHead(_WithoutNorm, dense_prediction_heads.RetinaNetHead):
    """RetinaNet head: two towers of 3x3 convolutions with ReLU, and two outputs."""

    norms = PlainResidualObjectnessRetinaNetHead.norms
    residual_form = PlainResidualObjectnessRetinaNetHead


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class PlainResidualObjectnessDetectionHead(
    _WithoutNorm, ResidualObjectnessDetectionHead
):
    """`PlainDetectionHead` with residual objectness."""

    norms = ("_conv_norms", "_fc_norms")


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class PlainDetectionHead(_WithoutNorm, instance_heads.DetectionHead):
    """R-CNN head: convolutions and fully connected layers with ReLU, two outputs."""

    norms = PlainResidualObjectnessDetectionHead.norms
    residual_form = PlainResidualObjectnessDetectionHead


_PLAIN = {
    dense_prediction_heads.RPNHead: PlainRPNHead,
    dense_prediction_heads.RetinaNetHead: PlainRetinaNetHead,
    instance_heads.DetectionHead: PlainDetectionHead,
}


def without_norm(head: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
    """Returns a head of the same settings without norm, with weights of its own."""
    return _PLAIN[type(head)](**head.get_config(), name=head.name)
