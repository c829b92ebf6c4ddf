"""Heads: created in Model Garden's order, and with residual objectness."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import tensorflow as tf
import tf_keras
from official.vision.modeling import maskrcnn_model
from official.vision.modeling.heads import dense_prediction_heads, instance_heads

from libra_tf.layers.initial_weights import derived_seed
from libra_tf.layers.objectness import ResidualObjectness
from libra_tf.ops.logits import joint_softmax_logits

# A quarter of the sampled RoIs are objects (Girshick, "Fast R-CNN", ICCV 2015, section
# 2.3; `foreground_fraction`). Half of the logit for each of the two predictors.
ROI_OBJECTNESS_BIAS = -math.log(3) / 2

Shapes: TypeAlias = tf.TensorShape | Mapping[str, tf.TensorShape]


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class ResidualObjectnessRetinaNetHead(dense_prediction_heads.RetinaNetHead):
    """RetinaNet head whose classifier is `ResidualObjectness`.

    The scores have the shape of Model Garden's, [B, H, W, A * num_classes]; channel 0
    of each anchor, the background that Model Garden does not use, is the objectness.
    The score of a class is sigmoid(objectness) * sigmoid(class): see `ScoreTransform`.

    Args:
        **kwargs: of Model Garden's head.
        seed: of the initial classifier; None draws from the global stream.

    Raises:
        ValueError: `use_separable_conv`, for which there is no published form.
    """

    reused = (
        "_cls_convs",
        "_cls_norms",
        "_box_convs",
        "_box_norms",
        "_box_regressor",
        "_att_predictors",
        "_att_convs",
        "_att_norms",
    )

    def __init__(self, *, seed: int | None = None, **kwargs: object):
        super().__init__(**kwargs)
        if self._config_dict["use_separable_conv"]:
            raise ValueError(
                "use_separable_conv must be False: residual objectness has plain "
                "convolutions"
            )
        self._config_dict["seed"] = seed

    def _build_prediction_tower(
        self, net_name, predictor_name, conv_op, bn_op, predictor_kwargs
    ):
        convs, norms, predictors = super()._build_prediction_tower(
            net_name, predictor_name, conv_op, bn_op, predictor_kwargs
        )
        if net_name != "classnet":
            return convs, norms, predictors
        if self._config_dict["share_level_convs"]:
            return convs, norms, self._make_classifier(None)
        first, last = self._config_dict["min_level"], self._config_dict["max_level"]
        return convs, norms, [self._make_classifier(k) for k in range(first, last + 1)]

    def _make_classifier(self, level: int | None) -> ResidualObjectness:
        """The classifier of one level, or (None) that of all."""
        config = self._config_dict
        num_anchors = config["num_anchors_per_location"]
        if isinstance(num_anchors, Mapping):
            num_anchors = num_anchors[str(level)]
        name = "scores" if level is None else f"scores-{level}"
        return ResidualObjectness(
            config["num_classes"],
            num_anchors,
            kernel_regularizer=config["kernel_regularizer"],
            bias_regularizer=config["bias_regularizer"],
            # Unshared levels get different initial weights.
            seed=derived_seed(config["seed"], name),
            name=name,
        )


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class ResidualObjectnessDetectionHead(instance_heads.DetectionHead):
    """R-CNN head whose classifier is `ResidualObjectness`, of dense layers.

    The class outputs [B, N, num_classes] are log-probabilities, background first (see
    `joint_softmax_logits`), in float32: the softmax and the cross entropy that Model
    Garden applies to logits leave them right, so losses and inference stay.

    An object has the initial probability 1/4, the share of the sampled RoIs, and all
    classes the same.

    Args:
        **kwargs: of Model Garden's head.
        seed: of the initial classifier; None draws from the global stream.

    Deviation: Chen et al. report a Faster R-CNN with residual objectness but released
    a RetinaNet only. This form is ours: dense layers for convolutions, one softmax
    over the classes for a sigmoid each, and the prior.
    """

    reused = ("_convs", "_conv_norms", "_fcs", "_fc_norms", "_box_regressor")

    def __init__(self, *, seed: int | None = None, **kwargs: object):
        super().__init__(**kwargs)
        self._config_dict["seed"] = seed

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates the layers of the head, the classifier anew."""
        super().build(input_shape)
        self._classifier = ResidualObjectness(
            self._config_dict["num_classes"],
            kernel_size=None,
            objectness_bias=ROI_OBJECTNESS_BIAS,
            class_bias=0.0,
            kernel_regularizer=self._config_dict["kernel_regularizer"],
            bias_regularizer=self._config_dict["bias_regularizer"],
            seed=self._config_dict["seed"],
            name="detection-scores",
        )

    def call(self, inputs, training=None):
        """Returns class outputs [B, N, num_classes] and deltas of RoI features."""
        logits, boxes = super().call(inputs, training=training)
        return joint_softmax_logits(logits[..., :1], logits[..., 1:]), boxes


def create_roi_heads(model: maskrcnn_model.MaskRCNNModel) -> None:
    """Creates the weights of the heads that Model Garden leaves to the first call.

    Those are the detection heads and the mask head. Created after our parts, they would
    draw other initial weights than without them.
    """
    if model.decoder is None:
        return
    for head in model.detection_head:
        head(symbolic_inputs(roi_shape(model, model.roi_aligner)))
    if model.mask_head is not None:
        features = symbolic_inputs(roi_shape(model, model.mask_roi_aligner))
        model.mask_head([features, tf_keras.Input([1], dtype=tf.int32)])


def roi_shape(
    model: maskrcnn_model.MaskRCNNModel, aligner: tf_keras.layers.Layer
) -> tf.TensorShape:
    """Shape [B, 1, height, width, C] of what `aligner` cuts out for one RoI."""
    size = aligner.get_config()["crop_size"]
    channels = next(iter(model.decoder.output_specs.values()))[-1]
    return tf.TensorShape([None, 1, size, size, channels])


ResidualHead: TypeAlias = (
    type[ResidualObjectnessRetinaNetHead] | type[ResidualObjectnessDetectionHead]
)
_HEADS: dict[type, ResidualHead] = {
    dense_prediction_heads.RetinaNetHead: ResidualObjectnessRetinaNetHead,
    instance_heads.DetectionHead: ResidualObjectnessDetectionHead,
}


def use_residual_objectness(
    head: tf_keras.layers.Layer, input_shape: Shapes, *, seed: int | None = None
) -> tf_keras.layers.Layer:
    """Returns a head with residual objectness, which takes over the rest of `head`.

    Towers and box regressor are those of `head`, weights and all, so that they start
    alike with and without residual objectness. `head` is not used any more after this.

    Args:
        head: Model Garden's `RetinaNetHead` or `DetectionHead`, called before or not.
        input_shape: of its input, for `RetinaNetHead` by level (`output_specs` of the
            decoder), for `DetectionHead` see `roi_shape`.
        seed: of the initial classifier; None draws from the global stream.

    Raises:
        ValueError: `head` is of another kind, or has separable convolutions.
    """
    # Reference*Head names its residual variant in `residual_form`.
    kind: ResidualHead | None = getattr(head, "residual_form", None) or _HEADS.get(
        type(head)
    )
    if kind is None:
        raise ValueError(
            f"head must be a {' or '.join(kind.__name__ for kind in _HEADS)}, got "
            f"{type(head).__name__}"
        )
    inputs = symbolic_inputs(input_shape)
    head(inputs)  # creates weights that are not there yet, in Model Garden's order
    ours = kind(**head.get_config(), name=head.name, seed=seed)
    ours.build(input_shape)
    for part in ours.reused:
        if hasattr(head, part):
            setattr(ours, part, getattr(head, part))
    ours(inputs)
    return ours


def symbolic_inputs(shape: Shapes) -> tf.Tensor | dict[str, tf.Tensor]:
    """Keras inputs of a shape with batch, or of such a shape for each level."""
    if isinstance(shape, Mapping):
        return {
            level: symbolic_inputs(level_shape) for level, level_shape in shape.items()
        }
    return tf_keras.Input(tf.TensorShape(shape)[1:])
