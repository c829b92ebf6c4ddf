"""What a loop of steps waited for, and how much memory it took."""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf


class LoopSpeed:
    """Measures how long the steps of a loop wait for their data.

    Two clocks are in the graph, before and after the next batch is taken.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waited = 0.0
        self._begin = time.monotonic()

    def begin(self) -> None:
        """Starts the clock of a loop."""
        self._waited, self._begin = 0.0, time.monotonic()

    def timed(self, take: Callable[[], Any], local: Callable[[Any], Any]) -> Any:
        """Adds to a graph that a batch is taken, and how long that takes.

        Args:
            take: returns the next batch.
            local: returns what each replica here has of it.
        """
        before = tf.timestamp()
        with tf.control_dependencies([before]):
            batch = take()
        parts = tf.nest.map_structure(local, batch)
        tensors = [x for x in tf.nest.flatten(parts) if isinstance(x, tf.Tensor)]
        with tf.control_dependencies(tensors[:1]):
            waited = tf.timestamp() - before
        tf.numpy_function(self._add, [waited], tf.bool)
        return batch

    def _add(self, seconds: float) -> bool:
        with self._lock:
            self._waited += float(seconds)
        return True

    def end(self) -> dict[str, float]:
        """Returns `data_wait_share` of the loop's time and `peak_memory_gib` so far."""
        whole = max(time.monotonic() - self._begin, 1e-9)
        return {
            "data_wait_share": min(self._waited / whole, 1.0),
            "peak_memory_gib": peak_memory() / 2**30,
        }


def peak_memory() -> int:
    """Most bytes in use at once: of the fullest GPU, without one of the process."""
    gpus = tf.config.list_logical_devices("GPU")
    if gpus:
        infos = (tf.config.experimental.get_memory_info(gpu.name) for gpu in gpus)
        return max(int(info["peak"]) for info in infos)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
