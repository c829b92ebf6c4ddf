"""models.class_bias: the probability that a dense head starts from."""

import numpy as np
import pytest
import tensorflow as tf
from official.vision.modeling.heads import dense_prediction_heads

from libra_tf.models.class_bias import set_class_bias

BIAS = -6.9


def retinanet_head(**settings):
    settings = {
        "min_level": 3, "max_level": 4, "num_classes": 3, "num_anchors_per_location": 2,
        "num_convs": 1, "num_filters": 4,
    } | settings  # fmt: skip
    head = dense_prediction_heads.RetinaNetHead(**settings)
    features = {str(k): tf.zeros([1, 16 >> k, 16 >> k, 4]) for k in (3, 4)}
    return head, head(features)[0], features


def rpn_head(**settings):
    settings = {
        "min_level": 3, "max_level": 4, "num_anchors_per_location": 2, "num_convs": 1,
        "num_filters": 4,
    } | settings  # fmt: skip
    head = dense_prediction_heads.RPNHead(**settings)
    features = {str(k): tf.zeros([1, 16 >> k, 16 >> k, 4]) for k in (3, 4)}
    return head, head(features)[0], features


@pytest.mark.parametrize("build", [retinanet_head, rpn_head])
@pytest.mark.parametrize(
    "settings", [{}, {"use_separable_conv": True}, {"share_level_convs": False}]
)
def test_every_score_starts_from_it(build, settings):
    if build is rpn_head and "share_level_convs" in settings:
        pytest.skip("an RPN shares its layers")
    head, before, features = build(**settings)
    set_class_bias(head, BIAS)
    scores = head(features)[0]
    for level in scores:
        # Features of zeros: what comes out of the last layer is its bias.
        np.testing.assert_allclose(scores[level], np.full(before[level].shape, BIAS))
    assert not np.any(head(features)[1]["3"])  # the box output keeps its bias


def test_the_bias_still_trains():
    head, _, features = retinanet_head()
    set_class_bias(head, BIAS)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(head(features)[0]["3"])
    assert np.all(tape.gradient(loss, head._classifier.bias) > 0)


def test_a_class_output_of_another_kind():
    head, *_ = retinanet_head()
    head._classifier = _Nothing()
    with pytest.raises(
        ValueError, match=r"RetinaNetHead has the class output _Nothing"
    ):
        set_class_bias(head, BIAS)


class _Nothing(tf.Module):
    """No bias."""
