"""Child processes, some at a time: a run that dies takes no other one with it."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

_POLL_SECONDS = 0.2
# A training stops after its interval, with a checkpoint; then it is killed.
_GRACE_SECONDS = 180.0
_THREAD_VARIABLES = (
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OMP_NUM_THREADS",
)


@dataclasses.dataclass(frozen=True)
class Task:
    """A command.

    Attributes:
        key: what the caller knows it by.
        words: the command line.
        log: file that gets its output, added to what is there.
    """

    key: Any
    words: list[str]
    log: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: exit code; minus the signal's number if a signal ended it.
        seconds: from start to end.
        peak_memory_mb: largest resident memory.
    """

    code: int
    seconds: float
    peak_memory_mb: float

    @property
    def reason(self) -> str:
        """The end in words."""
        if self.code >= 0:
            return f"exit code {self.code}"
        hint = " (out of memory?)" if self.code == -signal.SIGKILL else ""
        return f"killed by {signal.Signals(-self.code).name}{hint}"


def run_all(
    tasks: Iterable[Task], jobs: int, threads: int | None
) -> Generator[tuple[Task, Outcome], None, None]:
    """Runs commands in their order, `jobs` at a time; yields each as it ends.

    However the iteration ends, no child is left: each gets SIGTERM, and SIGKILL if it
    has not ended after some minutes.

    Args:
        tasks: the commands; each is taken from the iterable when it starts.
        jobs: how many run at a time.
        threads: bound on the threads of each; None for none.
    """
    waiting = iter(tasks)
    running: list[_Child] = []
    try:
        while True:
            for task in itertools.islice(waiting, jobs - len(running)):
                running.append(_Child(task, threads))
            if not running:
                return
            for child in list(running):
                outcome = child.poll()
                if outcome is not None:
                    running.remove(child)
                    yield child.task, outcome
            time.sleep(_POLL_SECONDS)
    finally:
        _stop(running)


class _Child:
    """A running command."""

    def __init__(self, task: Task, threads: int | None):
        self.task = task
        self._start = time.monotonic()
        self._peaks_mb: list[float] = []
        with open(task.log, "ab") as log:
            self._process = subprocess.Popen(
                task.words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(threads),
                # Ctrl-C on the terminal is for the parent, which passes it on once.
                start_new_session=True,
            )

    def poll(self) -> Outcome | None:
        """Returns how it ended; None while it runs."""
        if (peak_mb := _peak_memory_mb(self._process.pid)) is not None:
            self._peaks_mb.append(peak_mb)
        pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
        if pid == 0:
            return None
        code = os.waitstatus_to_exitcode(status)
        self._process.returncode = code
        unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
        peak_mb = usage.ru_maxrss / unit
        if len(self._peaks_mb) > 1:  # one was before it did anything
            peak_mb = self._peaks_mb[-1]
        return Outcome(code, time.monotonic() - self._start, peak_mb)

    def signal(self, number: int) -> None:
        """Sends a signal."""
        self._process.send_signal(number)


def _peak_memory_mb(pid: int) -> float | None:
    """Returns the peak so far where /proc tells it.

    What `wait4` gives is at least the memory of the parent: Linux counts the moment
    between fork and exec.
    """
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return None
    lines = [line.split() for line in text.splitlines()]
    found = [float(words[1]) for words in lines if words[:1] == ["VmHWM:"]]
    return found[0] / 1024 if found else None


def _environment(threads: int | None) -> dict[str, str]:
    bounds = {} if threads is None else dict.fromkeys(_THREAD_VARIABLES, str(threads))
    return {**os.environ, "PYTHONUNBUFFERED": "1", **bounds}


def _stop(running: list[_Child]) -> None:
    for child in running:
        child.signal(signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    try:
        while running and time.monotonic() < deadline:
            running = [child for child in running if child.poll() is None]
            time.sleep(_POLL_SECONDS)
    finally:
        for child in running:  # a second Ctrl-C does not wait
            child.signal(signal.SIGKILL)
