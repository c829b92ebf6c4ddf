"""An evaluation that several processes divide among themselves."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from libra_tf.training.cluster import Cluster, Place


def input_context(place: Place, replicas: int) -> tf.distribute.InputContext:
    """Returns what tells an input pipeline its part.

    Args:
        place: which of the processes this one is.
        replicas: those of all processes.
    """
    return tf.distribute.InputContext(
        num_input_pipelines=place.count,
        input_pipeline_id=place.index,
        num_replicas_in_sync=replicas,
    )


class PartOfData:
    """The batches of one process, and then others without end, for it to keep step.

    Losses are divided by what all replicas count, so all have to take every step. An
    image that comes again counts once.

    Args:
        build: from `input_context` to batches, each for one replica.
        place: which of the processes this one is.
        replicas: those of all processes.
    """

    def __init__(
        self, build: Callable[..., tf.data.Dataset], place: Place, replicas: int
    ):
        self._build = build
        self._own = build(input_context=input_context(place, replicas))
        self._here, self._all = replicas // place.count, replicas

    def __iter__(self) -> Iterator[tuple[bool, tuple[Any, ...]]]:
        """Yields whether batches are its own, and one batch for each replica here."""
        own = iter(self._own)
        while batches := tuple(itertools.islice(own, self._here)):
            yield True, batches
        whole = self._build(input_context=input_context(Place(), self._all))
        other = next(iter(whole))
        while True:
            yield False, (other,) * self._here


def evaluation_loop(
    step: Callable[[Iterator[Any]], Any],
    cluster: Cluster,
    may_go_on: Callable[[], None],
) -> Callable[..., Any]:
    """Returns a loop as Orbit's, which ends when no process has a batch of its own.

    Args:
        step: takes batches off an iterator, one for each replica here.
        cluster: the processes.
        may_go_on: raises, in all of them, where it may not.
    """
    function = tf.function(
        lambda batches: step(iter(batches)),
        reduce_retracing=True,
        autograph=False,
    )

    def loop(
        parts: Iterator[tuple[bool, tuple[Any, ...]]],
        num_steps: int,
        state: Any = None,
        reduce_fn: Callable[[Any, Any], Any] | None = None,
    ) -> Any:
        for number in itertools.count():
            if number == num_steps:
                break
            is_own, batches = next(parts)
            if not cluster.any(is_own):
                break
            may_go_on()
            outputs = function(batches)
            state = reduce_fn(state, outputs) if reduce_fn else state
        return state

    return loop
