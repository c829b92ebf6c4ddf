"""tasks.normalizer: divisors, and what replicas make of them."""

import pytest
import tensorflow as tf

from libra_tf.tasks.normalizer import count_at_least_one, replica_mean


@pytest.mark.parametrize(("count", "expected"), [(0, 1), (1, 1), (0.5, 1), (7, 7)])
def test_one_replica_counts_for_itself_and_at_least_one(count, expected):
    assert replica_mean(tf.constant(count)).numpy() == expected


def test_minimum():
    assert replica_mean(tf.constant(0.0), minimum=0.25).numpy() == 0.25
    assert replica_mean(tf.constant(0.5), minimum=0.25).numpy() == 0.5


def test_a_mirrored_strategy_of_one_device():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    result = strategy.run(tf.function(replica_mean), args=(tf.constant(3),))
    assert result.numpy() == 3


@pytest.mark.parametrize("dtype", [tf.int32, tf.bfloat16, tf.float32])
def test_counts_of_any_type_give_float32(dtype):
    mean = replica_mean(tf.cast(5, dtype))
    assert mean.dtype == tf.float32
    assert mean.numpy() == 5


def test_no_gradient_flows_through_a_count():
    x = tf.constant(4.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        quotient = 8.0 / replica_mean(x)
    assert tape.gradient(quotient, x) is None


def test_every_image_counts_at_least_once():
    mask = tf.constant([[True, True, False], [False] * 3, [True, False, False]])
    assert count_at_least_one(mask).numpy() == 2 + 1 + 1
    assert count_at_least_one(mask[:, :, tf.newaxis]).numpy() == 4
    assert count_at_least_one(mask[1:2]).numpy() == 1


def test_a_batch_of_unknown_size():
    traced = tf.function(
        count_at_least_one, input_signature=[tf.TensorSpec([None, 2], tf.bool)]
    )
    assert traced(tf.constant([[True, True], [False, False]])).numpy() == 3
