"""RetinaNet: Model Garden's model with our neck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras
from official.vision.modeling import factory, retinanet_model

from libra_tf.experiments import model_config
from libra_tf.layers.running_state import RunningState
from libra_tf.models.anchors import own_anchors
from libra_tf.models.backbone import freeze_stages
from libra_tf.models.clipped_detections import ClippedDenseDetectionGenerator
from libra_tf.models.heads import use_residual_objectness
from libra_tf.models.neck import add_neck, checkpoint_parts
from libra_tf.models.reference_parts import reference_retinanet_parts
from libra_tf.models.score_transform import ScoreTransform


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class LibraRetinaNet(retinanet_model.RetinaNetModel):
    """Model Garden's RetinaNet; stock checkpoints of the FPN fit.

    Args:
        *args: of Model Garden's model.
        anchor_form: see `RPNAnchor`.
        **kwargs: of Model Garden's model.
    """

    is_two_stage = False

    def __init__(
        self, *args: object, anchor_form: str = "model_garden", **kwargs: object
    ):
        super().__init__(*args, **kwargs)
        self._config_dict["anchor_form"] = anchor_form

    def call(
        self,
        images: tf.Tensor,
        image_shape: tf.Tensor | None = None,
        anchor_boxes: Mapping[str, tf.Tensor] | None = None,
        output_intermediate_features: bool = False,
        training: bool | None = None,
    ) -> Mapping[str, Any]:
        """Runs the detector; see the base class."""
        if not training and anchor_boxes is None:
            anchor_boxes = own_anchors(images, self._config_dict)
        return super().call(
            images,
            image_shape=image_shape,
            anchor_boxes=anchor_boxes,
            output_intermediate_features=output_intermediate_features,
            training=training,
        )

    def add_states(self, initial: Mapping[str, Sequence[float]]) -> dict:
        """Adds what losses keep from step to step, so that checkpoints hold it.

        Args:
            initial: first values by name.

        Returns:
            The `RunningState`s by name.
        """
        self.loss_states = {
            name: RunningState(values, name=name) for name, values in initial.items()
        }
        return self.loss_states

    @property
    def checkpoint_items(self) -> dict[str, tf_keras.layers.Layer]:
        """Parts by name, see `checkpoint_parts`."""
        return checkpoint_parts(super().checkpoint_items)


def build_retinanet(
    input_specs: tf_keras.layers.InputSpec,
    config: model_config.RetinaNet,
    l2_regularizer: tf_keras.regularizers.Regularizer | None = None,
    seed: int | None = None,
) -> LibraRetinaNet:
    """Builds Model Garden's RetinaNet and swaps the parts that `config` names.

    See `libra_tf.models.maskrcnn.build_maskrcnn`.
    """
    base = factory.build_retinanet(
        input_specs=input_specs, model_config=config, l2_regularizer=l2_regularizer
    )
    parts = dict(base.get_config())
    if config.clip_to_image:
        settings = base.detection_generator.get_config()
        parts["detection_generator"] = ClippedDenseDetectionGenerator(**settings)
    parts |= reference_retinanet_parts(base, config)
    parts["decoder"] = add_neck(base.decoder, config.neck, l2_regularizer, seed)
    residual = config.objectness.is_residual
    if residual:
        specs = base.decoder.output_specs
        parts["head"] = use_residual_objectness(parts["head"], specs, seed=seed)
    has_thresholds = config.prior.sets_thresholds
    if residual or has_thresholds:
        parts["detection_generator"] = ScoreTransform(
            parts["detection_generator"],
            config.num_classes,
            residual_objectness=residual,
            has_class_thresholds=has_thresholds,
            name="score_transform",
        )
    freeze_stages(base.backbone, config.frozen_stages)
    return LibraRetinaNet.from_config(parts)
