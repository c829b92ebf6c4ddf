"""Ctrl-C and SIGTERM end a training between two intervals, with a checkpoint."""

from __future__ import annotations

import signal
import threading
from typing import Any, TextIO

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopTraining(Exception):
    """Raised between two intervals after a signal."""


class StopOnSignal:
    """Turns the first signal into `StopTraining`; the second acts as ever.

    Use it as a context manager around training, and `check` as an Orbit action.

    Args:
        stream: for the line that says what will happen.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._requested = False
        self._former: dict[int, Any] = {}

    def __enter__(self) -> StopOnSignal:
        # Python allows handlers in the main thread only.
        if threading.current_thread() is threading.main_thread():
            self._former = {s: signal.signal(s, self._request) for s in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def check(self, _: object) -> None:
        """Raises `StopTraining` if a signal has come."""
        if self._requested:
            raise StopTraining

    def _request(self, *_: object) -> None:
        self._requested = True
        self._restore()
        print(
            "stopping after this interval, with a checkpoint; once more to stop now",
            file=self._stream,
            flush=True,
        )

    def _restore(self) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}
