"""Ctrl-C and SIGTERM end a training after the current step, with a checkpoint."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any, TextIO

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopTraining(Exception):
    """Raised after the step in which a signal came."""


class StopOnSignal:
    """Turns the first signal into `StopTraining`; the second ends the process at once.

    Use it as a context manager around training, and `check` as an Orbit action. Python
    calls a handler of signals between two of its own instructions, which is after the
    loop of steps that TensorFlow runs; so a thread listens, and `is_requested` tells
    the loop.

    Args:
        stream: for the line that says what will happen.
        exchange: where several processes train together: takes what this one has to
            say, returns what each of them said.
    """

    def __init__(
        self,
        stream: TextIO,
        exchange: Callable[[bytes], list[bytes]] | None = None,
    ):
        self._stream = stream
        self._exchange = exchange
        self._first: int | None = None
        self._lock = threading.Lock()
        self._former: dict[int, Any] = {}
        self._former_wakeup = -1
        self._ends: tuple[socket.socket, socket.socket] | None = None

    @property
    def terminated(self) -> bool:
        """Whether the signal was SIGTERM."""
        return self._first == signal.SIGTERM

    def __enter__(self) -> StopOnSignal:
        # Python allows handlers in the main thread only.
        if threading.current_thread() is threading.main_thread():
            self._ends = socket.socketpair()
            self._ends[1].setblocking(False)
            self._former = {s: signal.signal(s, self._request) for s in SIGNALS}
            self._former_wakeup = signal.set_wakeup_fd(
                self._ends[1].fileno(), warn_on_full_buffer=False
            )
            threading.Thread(
                target=self._listen, args=(self._ends[0],), daemon=True
            ).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._ends is None:
            return
        signal.set_wakeup_fd(self._former_wakeup)
        for number, handler in self._former.items():
            signal.signal(number, handler)
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._ends = None

    def is_requested(self) -> bool:
        """Whether a signal has come."""
        return self._first is not None

    def is_agreed(self) -> bool:
        """Whether a signal has come to any process; each of them has to ask."""
        if self._exchange is None:
            return self.is_requested()
        said = self._exchange(str(self._first or 0).encode())
        numbers = [number for number in map(int, said) if number]
        if numbers:
            self._request(max(numbers))
        return bool(numbers)

    def check(self, _: object) -> None:
        """Raises `StopTraining` if a signal has come; see `is_agreed`."""
        if self.is_agreed():
            raise StopTraining

    def _listen(self, end: socket.socket) -> None:
        count = 0
        with contextlib.suppress(OSError):
            while numbers := end.recv(16):
                for number in numbers:
                    self._request(number)
                    count += number in SIGNALS
                if count > 1:
                    os._exit(128 + numbers[-1])

    def _request(self, number: int, *_: object) -> None:
        # By the thread, and again by Python when its turn comes.
        with self._lock:
            if self._first is not None or number not in SIGNALS:
                return
            self._first = number
        print(
            "stopping after this step, with a checkpoint; once more to stop now",
            file=self._stream,
            flush=True,
        )
