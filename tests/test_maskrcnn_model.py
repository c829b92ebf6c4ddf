"""models.maskrcnn: what Model Garden's model does not do."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tiny


@pytest.fixture(scope="module")
def model():
    params = tiny.experiment("libra_maskrcnn_resnetfpn_coco")
    return tiny.build(params)[1]


def test_masks_of_rows_that_no_candidate_filled(model):
    """Their class is -1, which a CPU refuses to gather."""
    features = {
        str(k): tf.random.normal([1, tiny.SIZE >> k, tiny.SIZE >> k, 16])
        for k in range(2, 6)
    }
    rois = tf.constant([[[0.0, 0, 1, 1], [4, 4, 40, 40], [0, 0, 20, 30]]])
    classes = tf.constant([[-1, 2, 0]])
    logits, _ = model._features_to_mask_outputs(features, rois, classes)
    assert logits.shape[:2] == (1, 3)
    assert np.all(np.isfinite(logits))


def test_the_samplers_count_is_a_weight_before_training(model):
    names = [v.name for v in model.variables]
    assert any("num_calls" in name for name in names)


def test_proposals_are_an_output_of_evaluation_only(model):
    images = tf.zeros([1, tiny.SIZE, tiny.SIZE, 3])
    outputs = model(images, image_shape=tf.constant([[64.0, 64.0]]), training=False)
    assert outputs["proposals"].shape == (1, 60, 4)
