"""Runs a function over many items in worker processes, in order, in little memory."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from libra_tf.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

BATCH = 4
BATCHES_PER_WORKER = 3
MAX_DEFAULT_WORKERS = 8


def default_workers() -> int:
    """As many processes as there are cores, up to `MAX_DEFAULT_WORKERS`."""
    return min(os.cpu_count() or 1, MAX_DEFAULT_WORKERS)


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[Result, None, None]:
    """Yields `function(item)` in the order of the items.

    At most `workers * BATCH * BATCHES_PER_WORKER` results wait at any time. One
    worker means this process. The first error ends everything.

    Args:
        function: picklable, from a module that is cheap to import.
        items: picklable.
        workers: number of processes.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    pool = ProcessPoolExecutor(
        workers,
        # A fork would copy TensorFlow's threads in whatever state they are.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )
    try:
        yield from _map_with(pool, function, items, workers * BATCHES_PER_WORKER)
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process died (out of memory?); use fewer --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _map_with(
    pool: ProcessPoolExecutor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    window: int,
) -> Iterator[Result]:
    source = iter(items)
    pending: deque[Future[list[Result]]] = deque()
    while True:
        while len(pending) < window:
            batch = list(itertools.islice(source, BATCH))
            if not batch:
                break
            pending.append(pool.submit(_apply, function, batch))
        if not pending:
            return
        yield from pending.popleft().result()


def _apply(function: Callable[[Item], Result], batch: list[Item]) -> list[Result]:
    return [function(item) for item in batch]


def _start_worker() -> None:
    # Ctrl-C goes to every process of the terminal; the parent tidies up for all.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """Ends a worker whose parent was killed; it would wait for work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
