"""RoIAlign of the published detectors, in the place of Model Garden's."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf
import tf_keras

from libra_tf.ops.roi_align import assign_levels, roi_align


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class ReferenceROIAligner(tf_keras.layers.Layer):
    """Cuts RoIs out of the level that fits their size.

    Args:
        min_level: finest level.
        max_level: coarsest level that RoIs are cut from.
        crop_size: bins per side.
        sampling_ratio: see `roi_align`.
        finest_scale: see `assign_levels`.

    Call: {level: [B, H, W, C]}, boxes [B, N, 4] yxyx -> [B, N, crop, crop, C].
    """

    def __init__(
        self,
        min_level: int = 2,
        max_level: int = 5,
        crop_size: int = 7,
        sampling_ratio: int = 0,
        finest_scale: int = 56,
        **kwargs: object,
    ):
        # Without autocast: bfloat16 keeps 8 bits, 4 pixels at coordinate 1000.
        super().__init__(**{"autocast": False, **kwargs})
        self._config_dict = {
            "min_level": min_level,
            "max_level": max_level,
            "crop_size": crop_size,
            "sampling_ratio": sampling_ratio,
            "finest_scale": finest_scale,
        }

    def call(
        self,
        features: Mapping[str, tf.Tensor],
        boxes: tf.Tensor,
        training: bool | None = None,
    ) -> tf.Tensor:
        """Returns the RoIs' features [B, N, crop, crop, C]."""
        config = self._config_dict
        levels = range(config["min_level"], config["max_level"] + 1)
        return roi_align(
            [features[str(level)] for level in levels],
            boxes,
            assign_levels(
                tf.cast(boxes, tf.float32), len(levels), config["finest_scale"]
            ),
            strides=[2**level for level in levels],
            crop_size=config["crop_size"],
            sampling_ratio=config["sampling_ratio"],
        )

    def get_config(self) -> dict:
        """Returns the arguments by name."""
        return {**super().get_config(), **self._config_dict}
