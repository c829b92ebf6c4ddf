"""Takes the batches of some training steps out of a graph that runs."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import tensorflow as tf


class BatchWatch:
    """Keeps what each replica saw in the last step that is due.

    A step is due where a summary is and `interval` steps have begun since the summary
    before: with a summary every 20 steps and an interval of 100, each fifth summary.
    That depends on nothing but the number of the step, so a run that goes on from a
    checkpoint has them where an uninterrupted one has.

    Args:
        interval: steps, at least 1.
        summary_interval: steps between two summaries, at least 1.
    """

    def __init__(self, interval: int, summary_interval: int):
        self._interval = interval
        self._summary_interval = summary_interval
        self._lock = threading.Lock()  # replicas call at once
        self._step = -1
        self._batches: dict[int, list[np.ndarray]] = {}
        self._structure: Any = None

    def is_due(self, step: tf.Tensor) -> tf.Tensor:
        """Whether a step, counted from 1, is one to keep: `bool` scalar."""
        before = tf.maximum(step - self._summary_interval, 0)
        begun = step // self._interval > before // self._interval
        return tf.equal(step % self._summary_interval, 0) & begun

    def keep(self, step: tf.Tensor, inputs: Any) -> None:
        """Adds to a replica's graph that a due step's batch is kept.

        Args:
            step: number of the step.
            inputs: images and labels of the replica.
        """
        self._structure = inputs
        context = tf.distribute.get_replica_context()
        replica = context.replica_id_in_sync_group if context else 0

        def take(step: np.ndarray, replica: np.ndarray, *arrays: np.ndarray) -> bool:
            with self._lock:
                if int(step) != self._step:
                    self._step, self._batches = int(step), {}
                self._batches[int(replica)] = list(arrays)
            return True

        tensors = tf.nest.flatten(inputs)
        tf.cond(
            self.is_due(step),
            lambda: tf.numpy_function(take, [step, replica, *tensors], tf.bool),
            lambda: tf.constant(True),
        )

    def take(self, step: int) -> dict[int, Any] | None:
        """Returns the batch of each replica if `step` was kept, and forgets it."""
        with self._lock:
            kept, self._batches = self._batches, {}
        if self._step != step or not kept:
            return None
        return {
            replica: tf.nest.pack_sequence_as(self._structure, arrays)
            for replica, arrays in kept.items()
        }
