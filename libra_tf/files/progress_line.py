"""A progress line: how many, how fast, how long still."""

from __future__ import annotations

import sys
import time
from typing import TextIO

TERMINAL_SECONDS = 2.0
LOG_SECONDS = 30.0


class ProgressLine:
    """Reports on stderr: one line that renews itself, or a rare line in a log."""

    def __init__(self, label: str, total: int, stream: TextIO | None = None):
        self._label, self._total = label, total
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._started = self._told = time.monotonic()
        self._done = 0

    def step(self) -> None:
        """Counts one image and reports when it is time."""
        self._done += 1
        now = time.monotonic()
        pause = TERMINAL_SECONDS if self._terminal else LOG_SECONDS
        if now - self._told >= pause:
            self._told = now
            rate = self._done / (now - self._started)
            left = (self._total - self._done) / rate
            self._say(f", {left // 60:.0f}:{left % 60:02.0f} left", "", rate)

    def finish(self) -> None:
        """Reports the whole."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        self._say(f", {seconds:.1f} s", "\n", self._done / seconds)

    def _say(self, rest: str, end: str, rate: float) -> None:
        text = f"{self._label}: {self._done}/{self._total} images, {rate:.0f}/s{rest}"
        if self._terminal:
            self._stream.write(f"\r{text}\x1b[K{end}")
        else:
            self._stream.write(text + "\n")
        self._stream.flush()
