"""ops.logits: the logit, its inverse, and what never scores.

`product_logits` and `joint_softmax_logits` are tested with residual objectness, and
`optimal_bias` with the guided loss.
"""

import pytest
import tensorflow as tf

from libra_tf.ops.logits import NEVER, logit, optimal_bias


@pytest.mark.parametrize("probability", [1e-9, 1e-5, 0.01, 0.5, 0.99])
def test_the_sigmoid_of_a_logit_is_the_probability(probability):
    found = tf.sigmoid(tf.constant(logit(probability), tf.float64))
    assert float(found) == pytest.approx(probability, rel=1e-12)


def test_the_optimal_bias_is_the_logit_of_the_share_of_positives():
    assert optimal_bias(3, 40, 5) == logit(3 / 200)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_what_never_scores_has_the_score_0(dtype):
    assert float(tf.sigmoid(tf.constant(NEVER, dtype))) == 0
