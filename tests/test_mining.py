"""samplers.mining: losses and scores of candidates from the head's answer."""

import numpy as np
import pytest
import tensorflow as tf
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf.samplers.mining import best_foreground, class_losses

PROBABILITIES = np.array(
    [[[0.7, 0.1, 0.2], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3], [0.5, 0.25, 0.25]]]
)
LOGITS = tf.constant(np.log(PROBABILITIES) + 3, tf.float32)  # a shift changes nothing
GT_CLASSES = tf.constant([[2, 1, -1]])
MATCHED = tf.constant([[0, 0, 1, 2]])
POSITIVE = tf.constant([[True, False, True, False]])
# The object's class of a positive, else the background.
EXPECTED = -np.log([[0.2, 0.1, 0.5, 0.5]])


@pytest.mark.parametrize("dtype", [tf.int32, tf.float32])
@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_cross_entropy_of_the_target(jit_compile, dtype):
    function = class_losses
    if jit_compile is not None:
        function = tf.function(class_losses, jit_compile=jit_compile)
    losses = function(LOGITS, tf.cast(GT_CLASSES, dtype), MATCHED, POSITIVE)
    assert_close(losses, EXPECTED, of=REDUCTION)


def test_padded_ground_truth_is_no_class():
    """A positive cannot match padding; what is given must be finite all the same."""
    everything = tf.ones_like(POSITIVE)
    losses = class_losses(LOGITS, GT_CLASSES, MATCHED, everything)
    assert np.all(np.isfinite(losses))
    assert_close(losses[0, 3], -np.log(0.5), of=REDUCTION)


def test_bfloat16_logits_give_float32_losses():
    half = tf.cast(LOGITS, tf.bfloat16)
    losses = class_losses(half, GT_CLASSES, MATCHED, POSITIVE)
    assert losses.dtype == tf.float32
    wide = class_losses(tf.cast(half, tf.float32), GT_CLASSES, MATCHED, POSITIVE)
    np.testing.assert_array_equal(losses, wide)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_the_best_class_is_never_the_background(dtype):
    classes, scores = best_foreground(tf.cast(LOGITS, dtype))
    assert classes.numpy().tolist() == [[2, 1, 1, 1]]
    assert scores.dtype == tf.float32
    expected = [[0.2, 0.6, 0.5, 0.25]]
    assert_close(scores, expected, of=ELEMENTWISE, dtype=dtype.name, scale=1.0)
