"""Names of strangers on a terminal: shown as escapes where it would act on them.

A class or file may be called so that printing it moves the cursor, changes the title of
the window, turns the line around or cannot be encoded at all.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from typing import TextIO

from libra_tf.errors import printable

# What our own lines of progress do: they begin anew, and clear what stood there.
RENEW, CLEAR = "\r", "\x1b[K"


class SafeStream(io.TextIOBase):
    """Writes what `printable` allows, line breaks and tabulators.

    A carriage return passes at the beginning of what is written at once, and the
    sequence that clears the rest of a line at its end: lines of progress have them.
    Signs that the stream's encoding lacks become escapes too.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._encoding = stream.encoding or "utf-8"

    def isatty(self) -> bool:
        """Whether people look on."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Number of the open file."""
        return self._stream.fileno()

    def flush(self) -> None:
        """Passes on what was written."""
        self._stream.flush()

    def writable(self) -> bool:
        """Whether it can be written to: yes."""
        return True

    def write(self, text: str) -> int:
        """Writes text; returns its length."""
        self._stream.write(self._safe(text))
        return len(text)

    def _safe(self, text: str) -> str:
        begin = RENEW if text.startswith(RENEW) else ""
        body = text.removeprefix(begin)
        end = next((e for e in (CLEAR, f"{CLEAR}\n") if body.endswith(e)), "")
        body = body.removesuffix(end)
        lines = ("\t".join(map(printable, x.split("\t"))) for x in body.split("\n"))
        safe = "\n".join(lines).encode(self._encoding, "backslashreplace")
        return begin + safe.decode(self._encoding) + end


@contextlib.contextmanager
def safe_output() -> Iterator[None]:
    """Lets all that is printed meanwhile through `SafeStream`."""
    with (
        contextlib.redirect_stdout(SafeStream(sys.stdout)),
        contextlib.redirect_stderr(SafeStream(sys.stderr)),
    ):
        yield
