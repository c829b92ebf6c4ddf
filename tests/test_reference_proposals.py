"""Proposals: Model Garden's under float32, and the same under mixed precision."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from official.vision.modeling.layers import roi_generator

from libra_tf.models.reference_proposals import ROIGenerator

SIZE, STRIDE = 1024, 32


@pytest.fixture
def policy():
    yield tf_keras.mixed_precision.set_global_policy
    tf_keras.mixed_precision.set_global_policy("float32")


def scene(dtype):
    """Deltas and scores that bfloat16 holds exactly, over anchors of 50 pixels."""
    rng = np.random.default_rng(0)
    corner = np.mgrid[0:SIZE:STRIDE, 0:SIZE:STRIDE].transpose(1, 2, 0)
    anchors = np.concatenate([corner, corner + 50], axis=-1)[np.newaxis]
    deltas = tf.cast(rng.integers(-8, 8, [1, 32, 32, 4]) / 32, dtype)
    scores = tf.cast(rng.permutation(1024).reshape(1, 32, 32, 1) / 64 - 8, tf.bfloat16)
    scores = tf.cast(scores, dtype)
    return {"5": deltas}, {"5": scores}, {"5": tf.cast(anchors, tf.float32)}


def propose(layer, dtype):
    generator = layer(pre_nms_top_k=200, num_proposals=50)
    shape = tf.constant([[SIZE, SIZE]], tf.int32)
    return [x.numpy() for x in generator(*scene(dtype), shape, training=True)]


def test_float32_is_model_gardens():
    ours = propose(ROIGenerator, tf.float32)
    stock = propose(roi_generator.MultilevelROIGenerator, tf.float32)
    for one, other in zip(ours, stock, strict=True):
        np.testing.assert_array_equal(one, other)


def test_bfloat16_outputs_give_the_boxes_of_float32(policy):
    wanted = propose(ROIGenerator, tf.float32)
    policy("mixed_bfloat16")
    for one, other in zip(propose(ROIGenerator, tf.bfloat16), wanted, strict=True):
        np.testing.assert_array_equal(one, other)
    # What Model Garden's own does: off by pixels.
    stock = propose(roi_generator.MultilevelROIGenerator, tf.bfloat16)[0]
    assert np.abs(stock[:, :5] - wanted[0][:, :5]).max() > 1.0
