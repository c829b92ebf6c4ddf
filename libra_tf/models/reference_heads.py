"""The heads of form "reference": Model Garden's without BatchNorm."""

from __future__ import annotations

import tf_keras
from official.vision.modeling.heads import dense_prediction_heads, instance_heads

from libra_tf.models.heads import (
    ResidualObjectnessDetectionHead,
    ResidualObjectnessRetinaNetHead,
    Shapes,
    symbolic_inputs,
)


class _WithoutNorm(tf_keras.layers.Layer):
    """Puts layers that do nothing in the place of the norms of a head."""

    norms: tuple[str, ...]

    def build(self, input_shape: Shapes) -> None:
        """Creates the layers of the head, then replaces its norms."""
        super().build(input_shape)
        for name in self.norms:
            # Norms that were never called have no weights.
            setattr(self, name, _nothing(getattr(self, name)))


def _nothing(norms: list | tuple) -> list:
    return [
        _nothing(norm)
        if isinstance(norm, list | tuple)
        else tf_keras.layers.Activation("linear")
        for norm in norms
    ]


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class ReferenceRPNHead(_WithoutNorm, dense_prediction_heads.RPNHead):
    """RPN head: 3x3 convolutions with ReLU, shared by the levels, and two 1x1."""

    norms = ("_norms",)


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class ReferenceResidualObjectnessRetinaNetHead(
    _WithoutNorm, ResidualObjectnessRetinaNetHead
):
    """`ReferenceRetinaNetHead` with residual objectness."""

    norms = ("_cls_norms", "_box_norms")


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class ReferenceRetinaNetHead(_WithoutNorm, dense_prediction_heads.RetinaNetHead):
    """RetinaNet head: two towers of 3x3 convolutions with ReLU, and two outputs."""

    norms = ReferenceResidualObjectnessRetinaNetHead.norms
    residual_form = ReferenceResidualObjectnessRetinaNetHead


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class ReferenceResidualObjectnessDetectionHead(
    _WithoutNorm, ResidualObjectnessDetectionHead
):
    """`ReferenceDetectionHead` with residual objectness."""

    norms = ("_conv_norms", "_fc_norms")


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class ReferenceDetectionHead(_WithoutNorm, instance_heads.DetectionHead):
    """R-CNN head: convolutions and fully connected layers with ReLU, two outputs."""

    norms = ReferenceResidualObjectnessDetectionHead.norms
    residual_form = ReferenceResidualObjectnessDetectionHead


_REFERENCE = {
    dense_prediction_heads.RPNHead: ReferenceRPNHead,
    dense_prediction_heads.RetinaNetHead: ReferenceRetinaNetHead,
    instance_heads.DetectionHead: ReferenceDetectionHead,
}


def without_norm(
    head: tf_keras.layers.Layer, input_shape: Shapes
) -> tf_keras.layers.Layer:
    """Returns a head of the same settings without norm, with weights of its own.

    Args:
        head: Model Garden's.
        input_shape: see `use_residual_objectness`.
    """
    ours = _REFERENCE[type(head)](**head.get_config(), name=head.name)
    # A first call on symbolic inputs creates the weights.
    ours(symbolic_inputs(input_shape))
    return ours
