"""A value that a loss keeps from step to step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf
import tf_keras


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class RunningState(tf_keras.layers.Layer):
    """Holds a vector that is saved with the model and not trained.

    Under several replicas each assigns the same value, computed from all-reduced
    counts, so that reading and saving any one of them is right.

    Args:
        initial: the vector at the start of training.
    """

    def __init__(self, initial: Sequence[float], **kwargs: object):
        # Statistics stay float32 under mixed precision.
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})
        self.initial = [float(value) for value in initial]
        self.build(None)

    def build(self, input_shape: tf.TensorShape | None) -> None:
        """Creates the vector."""
        self.value = self.add_weight(
            name="value",
            shape=[len(self.initial)],
            initializer=tf_keras.initializers.Constant(self.initial),
            trainable=False,
            # Each replica assigns its own copy: no merging of replicas in a step.
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        super().build(input_shape)

    def read(self) -> tf.Tensor:
        """Returns the vector as it is."""
        return tf.identity(self.value)

    def assign(self, value: tf.Tensor) -> None:
        """Sets the vector, without gradient."""
        self.value.assign(tf.stop_gradient(value))

    def get_config(self) -> dict:
        """Returns the arguments by name."""
        return {**super().get_config(), "initial": self.initial}


class UnchangedState:
    """Reads a `RunningState`, which stays as it is whatever is assigned.

    Args:
        state: what is read.
    """

    def __init__(self, state: RunningState):
        self._state = state

    def read(self) -> tf.Tensor:
        """Returns the vector as it is."""
        return self._state.read()

    def assign(self, value: tf.Tensor) -> None:
        """Does nothing."""


def unchanged(states: Mapping[str, RunningState]) -> dict[str, UnchangedState]:
    """Returns what losses can read and not change."""
    return {name: UnchangedState(state) for name, state in states.items()}
