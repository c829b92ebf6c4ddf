"""criteria.normalizer: divisors, and what replicas make of them."""

import pytest
import tensorflow as tf

from libra_tf.criteria.normalizer import (
    count_at_least_one,
    guided_class_loss,
    replica_mean,
    replica_sum,
)


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


@pytest.mark.parametrize("shape", [[], [3]])
def test_one_replica_sums_its_own(shape):
    value = tf.fill(shape, 2.5)
    total = replica_sum(value)
    assert total.numpy().tolist() == value.numpy().tolist()
    with tf.GradientTape() as tape:
        tape.watch(value)
        loss = tf.reduce_sum(replica_sum(value) * value)
    assert tf.reduce_all(tape.gradient(loss, value) == 2.5)


@pytest.mark.parametrize(("factor", "value"), [(1.0, 0.2), (2.0, 0.4)])
def test_guided_loss_by_hand(factor, value):
    """Classification 0.8, box 0.2: the value of the box loss, a quarter the slope."""
    logit, box = tf.constant(1.0), tf.constant(0.2)
    with tf.GradientTape() as tape:
        tape.watch([logit, box])
        loss = guided_class_loss(0.8 * logit, box, factor)
    to_logit, to_box = tape.gradient(loss, [logit, box])
    assert float(loss) == pytest.approx(value)
    assert float(to_logit) == pytest.approx(0.8 * 0.25 * factor)
    assert to_box is None


@pytest.mark.parametrize(("class_loss", "box_loss"), [(0.0, 0.5), (0.7, 0.0), (0, 0)])
def test_guided_loss_of_a_batch_without_positives_or_errors(class_loss, box_loss):
    class_loss = tf.constant(float(class_loss))
    with tf.GradientTape() as tape:
        tape.watch(class_loss)
        loss = guided_class_loss(class_loss, tf.constant(float(box_loss)), 1.0)
    assert float(loss) == 0
    assert float(tape.gradient(loss, class_loss)) == 0


@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_a_compiled_step(jit_compile):
    traced = tf.function(
        lambda a, b: (guided_class_loss(a, b, 1.0), replica_sum(b), replica_mean(b)),
        jit_compile=jit_compile,
    )
    found = [float(x) for x in traced(tf.constant(0.8), tf.constant(2.0))]
    assert found == pytest.approx([2.0, 2.0, 2.0])
