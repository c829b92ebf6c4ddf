"""RetinaNet: Model Garden's model with our neck."""

from __future__ import annotations

import tf_keras
from official.vision.modeling import factory, retinanet_model

from libra_tf.experiments import model_config
from libra_tf.models.backbone import freeze_stages
from libra_tf.models.neck import add_neck, checkpoint_parts


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class LibraRetinaNet(retinanet_model.RetinaNetModel):
    """Model Garden's RetinaNet; stock checkpoints of the FPN fit."""

    @property
    def checkpoint_items(self) -> dict[str, tf_keras.layers.Layer]:
        """Parts by name, see `checkpoint_parts`."""
        return checkpoint_parts(super().checkpoint_items)


def build_retinanet(
    input_specs: tf_keras.layers.InputSpec,
    config: model_config.RetinaNet,
    l2_regularizer: tf_keras.regularizers.Regularizer | None = None,
) -> LibraRetinaNet:
    """Builds Model Garden's RetinaNet with the neck that `config` names.

    See `libra_tf.models.maskrcnn.build_maskrcnn`.
    """
    base = factory.build_retinanet(
        input_specs=input_specs, model_config=config, l2_regularizer=l2_regularizer
    )
    parts = dict(base.get_config())
    parts["decoder"] = add_neck(base.decoder, config.neck, l2_regularizer)
    freeze_stages(base.backbone, config.frozen_stages)
    return LibraRetinaNet.from_config(parts)
