"""Model Garden's proposal generator, with coordinates in float32."""

from __future__ import annotations

import tensorflow as tf
import tf_keras
from official.vision.modeling.layers import roi_generator


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class ROIGenerator(roi_generator.MultilevelROIGenerator):
    """Decodes, clips and suppresses boxes in float32, whatever the precision.

    Model Garden casts the anchors to the type of the scores. Under mixed precision that
    is bfloat16, which keeps 8 bits: proposals jump by 4 pixels at coordinate 1000, and
    many of them collapse into one. Under float32 the two are equal.
    """

    def call(self, raw_boxes, raw_scores, anchor_boxes, image_shape, training=None):
        """Returns proposals and their scores; see the base class."""
        single = [
            {level: tf.cast(x, tf.float32) for level, x in levels.items()}
            for levels in (raw_boxes, raw_scores, anchor_boxes)
        ]
        image_shape = tf.cast(image_shape, tf.float32)
        return super().call(*single, image_shape, training=training)
