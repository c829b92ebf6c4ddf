"""Several processes that train one model, and what they tell each other.

`TF_CONFIG` names them, as for any TensorFlow program; `MultiWorkerMirroredStrategy`
adds up their gradients. The first is the chief: it alone writes the folder of the run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from libra_tf.errors import LostWorker, UserError

VARIABLE = "TF_CONFIG"
STRATEGY = "multi_worker_mirrored"
_FORM = (
    'give {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", '
    '"index": N}}'
)


@dataclasses.dataclass(frozen=True)
class Place:
    """Which of how many processes this one is; the first is the chief."""

    index: int = 0
    count: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether it writes, and speaks."""
        return self.index == 0


def read_place(strategy: str) -> Place:
    """Returns this process's place among those that `TF_CONFIG` names.

    Args:
        strategy: `runtime.distribution_strategy`.

    Raises:
        UserError: the variable cannot be used, or does not go with the strategy.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return Place()
    jobs, job, index = _parse(text)
    workers = [*jobs.get("chief", []), *jobs.get("worker", [])]
    if not workers:
        return Place()
    if job not in ("chief", "worker"):
        raise UserError(
            f"{VARIABLE}: task type {job!r} trains nothing here: chiefs and workers "
            "do, and evaluate together (`libra eval` evaluates in a process of its own)"
        )
    if not 0 <= index < len(jobs.get(job, [])):
        raise UserError(
            f"{VARIABLE}: task index {index}, but there are "
            f"{len(jobs.get(job, []))} of type {job!r}; they count from 0"
        )
    if len(workers) > 1 and strategy != STRATEGY:
        raise UserError(
            f"{VARIABLE} names {len(workers)} processes, which "
            f"runtime.distribution_strategy {strategy!r} would let train one by one; "
            f"set it to {STRATEGY}, or unset {VARIABLE}"
        )
    before = len(jobs.get("chief", [])) if job == "worker" else 0
    return Place(before + index, len(workers))


def _parse(text: str) -> tuple[dict[str, list[str]], object, int]:
    try:
        value = json.loads(text)
        jobs, task = value.get("cluster", {}), value.get("task", {})
        good = all(isinstance(hosts, list) for hosts in jobs.values())
        job, index = task.get("type", "worker"), int(task.get("index", 0))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{VARIABLE} cannot be read ({error}); {_FORM}") from error
    if not good:
        raise UserError(f"{VARIABLE}: a job is no list of hosts; {_FORM}")
    return jobs, job, index


class Cluster:
    """The processes of a run. Where there is only one, it talks to itself.

    What is said here all of them have to say, in the same order.

    Args:
        place: which of them this one is.
        strategy: connects them; needed where they are several.
    """

    def __init__(
        self, place: Place | None = None, strategy: tf.distribute.Strategy | None = None
    ):
        self.place = place or Place()
        self._gather: Callable[[tf.Tensor], Any] | None = None
        if self.place.count > 1:
            if strategy is None:
                raise ValueError("several processes need a strategy")
            self._gather = _gatherer(strategy)

    @property
    def is_chief(self) -> bool:
        """Whether this process writes, and speaks."""
        return self.place.is_chief

    @property
    def is_one(self) -> bool:
        """Whether there is no other process."""
        return self.place.count == 1

    def exchange(self, data: bytes) -> list[bytes]:
        """Returns what each process gave, in their order."""
        if self._gather is None:
            return [data]
        framed = len(data).to_bytes(8, "little") + data
        framed += bytes(-len(framed) % 4)
        sizes, words = self._gather(tf.constant(np.frombuffer(framed, np.int32)))
        # Replicas of one process say the same.
        step = len(sizes) // self.place.count
        ends = np.cumsum(sizes)
        parts = [words[e - n : e].tobytes() for n, e in zip(sizes, ends, strict=True)]
        return [p[8 : 8 + int.from_bytes(p[:8], "little")] for p in parts[::step]]

    def any(self, flag: bool) -> bool:
        """Whether a flag is set in one of the processes."""
        return b"1" in self.exchange(b"1" if flag else b"0")

    def from_chief(self, value: Any) -> Any:
        """Returns the chief's value, of what JSON can hold; others' does not count."""
        if self.is_one:
            return value
        said = json.dumps(value).encode() if self.is_chief else b""
        return json.loads(self.exchange(said)[0])

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Ends the body everywhere where it is refused in one process.

        Raises:
            UserError: of this process, else of the first that was refused.
        """
        own = None
        try:
            yield
        except UserError as error:
            own = error
        said = self.exchange(str(own or "").encode())
        if own:
            raise own
        for index, text in enumerate(said):
            if text:
                raise UserError(f"worker {index}: {text.decode()}")


def _gatherer(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], Any]:
    """A function from int32 [n] to the sizes n and the values of all replicas."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
    def gather(words: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        size = tf.reshape(tf.size(words), [1])

        def of_replica() -> tuple[tf.Tensor, tf.Tensor]:
            context = tf.distribute.get_replica_context()
            # Made here, so that they are on the replica's device.
            sizes = context.all_gather(tf.identity(size), axis=0)
            return sizes, context.all_gather(tf.identity(words), axis=0)

        sizes, values = strategy.run(of_replica)
        first = strategy.experimental_local_results
        return first(sizes)[0], first(values)[0]

    def to_numpy(words: tf.Tensor) -> tuple[np.ndarray, np.ndarray]:
        sizes, values = gather(words)
        return sizes.numpy(), values.numpy()

    return to_numpy


@contextlib.contextmanager
def named_lost_workers(place: Place) -> Iterator[None]:
    """Says in one line that another process has gone.

    Raises:
        LostWorker: TensorFlow could not reach one.
    """
    try:
        yield
    except tf.errors.OpError as error:
        unreachable = (tf.errors.UnavailableError, tf.errors.AbortedError)
        about_them = "ollective" in str(error) or "heartbeat" in str(error)
        if place.count == 1 or not (isinstance(error, unreachable) or about_them):
            raise
        raise LostWorker(
            f"worker {place.index} of {place.count} lost another one, which has ended "
            "or cannot be reached (see what it printed); start all of them again with "
            "the same commands: they go on from the last checkpoint"
        ) from error
