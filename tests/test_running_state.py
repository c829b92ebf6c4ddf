"""layers.running_state: kept, saved, restored, not trained."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from libra_tf.layers.running_state import RunningState, unchanged


def test_starts_from_its_values_and_is_set():
    state = RunningState([1.0, 2.5], name="density")
    assert state.read().numpy().tolist() == [1.0, 2.5]
    state.assign(tf.constant([3.0, 4.0]))
    assert state.read().numpy().tolist() == [3.0, 4.0]
    assert state.trainable_variables == []
    assert [v.name for v in state.variables] == ["value:0"]


def test_what_was_read_does_not_change():
    state = RunningState([1.0])
    before = state.read()
    state.assign(tf.constant([2.0]))
    assert before.numpy().tolist() == [1.0]


def test_a_look_at_it_does_not_set_it():
    state = RunningState([1.0])
    seen = unchanged({"density": state})["density"]
    seen.assign(tf.constant([2.0]))
    assert state.read().numpy().tolist() == seen.read().numpy().tolist() == [1.0]
    state.assign(tf.constant([3.0]))
    assert seen.read().numpy().tolist() == [3.0]


def test_no_gradient_through_it():
    state, x = RunningState([1.0]), tf.constant([3.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        state.assign(2.0 * x)
        loss = tf.reduce_sum(state.read() * x)
    assert tape.gradient(loss, x).numpy().tolist() == [6.0]


def test_a_checkpoint_holds_it(tmp_path):
    state = RunningState([0.0, 0.0])
    state.assign(tf.constant([5.0, 7.0]))
    path = tf.train.Checkpoint(state=state).save(tmp_path / "ckpt")
    restored = RunningState([0.0, 0.0])
    tf.train.Checkpoint(state=restored).restore(path).assert_consumed()
    assert restored.read().numpy().tolist() == [5.0, 7.0]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_it_in_float32(policy):
    tf_keras.mixed_precision.set_global_policy(policy)
    try:
        state = RunningState([1.0])
        state.assign(tf.constant([1.0 + 2.0**-20]))
        assert state.read().dtype == tf.float32
        assert state.read().numpy() == np.float32(1 + 2.0**-20)
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")


@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_a_graph(jit_compile):
    state = RunningState([1.0, 2.0])

    @tf.function(jit_compile=jit_compile)
    def double():
        value = 2.0 * state.read()
        state.assign(value)
        return value

    for factor in (2, 4, 8):
        assert double().numpy().tolist() == [factor, 2 * factor]
        assert state.read().numpy().tolist() == [factor, 2 * factor]


def test_comes_back_from_its_config():
    state = RunningState([1.0, 0.5], name="density")
    restored = tf_keras.layers.deserialize(tf_keras.layers.serialize(state))
    assert isinstance(restored, RunningState)
    assert restored.get_config() == state.get_config()
    assert restored.read().numpy().tolist() == [1.0, 0.5]


def test_under_a_strategy_of_one_device(tmp_path):
    """(Two replicas are tested with the losses that use it.)"""
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        state = RunningState([1.0])
    strategy.run(tf.function(lambda: state.assign(state.read() + 1.0)))
    assert state.read().numpy().tolist() == [2.0]
    path = tf.train.Checkpoint(state=state).save(tmp_path / "ckpt")
    plain = RunningState([0.0])
    tf.train.Checkpoint(state=plain).restore(path).assert_consumed()
    assert plain.read().numpy().tolist() == [2.0]
