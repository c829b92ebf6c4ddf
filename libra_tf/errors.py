"""What ends a command: a fault, in lines that can be printed, or SIGTERM."""

from __future__ import annotations

import re

# They join letters, in Persian as in emoji, and do nothing else.
JOINERS = "\u200c\u200d"
# Characters of a line, and of a name among others; of a longer one the beginning and
# the end say most.
LONGEST_LINE, LONGEST_NAME = 700, 100
_NODE = re.compile(r"^(\{\{[^}]*\}\}\s*)+")  # of a graph, before what is wrong
# How errors begin that tell the place first, a line for each call.
_ARGUMENTS = "Call arguments received by"
_PLACES_FIRST = ("in user code:", "Graph execution error:")


class UserError(Exception):
    """Something the user can mend: one line that names it and says what to do.

    Commands print the text after `libra: error:` and exit with code 2; a traceback
    is for defects of the program only.

    Where several things are wrong, each argument is a line. What a file holds may be in
    it as it is: see `printable` and `shortened`.

    Attributes:
        exit_code: of the process.
    """

    exit_code = 2

    @property
    def reasons(self) -> list[str]:
        """One line for each thing that is wrong."""
        return [shortened(printable(str(line))) for line in self.args]

    def __str__(self) -> str:
        return "\n".join(self.reasons)


class LostWorker(UserError):
    """Another process of a run has gone; see `Terminated`."""

    exit_code = 75


class Terminated(KeyboardInterrupt):
    """SIGTERM came, and nothing is lost by it.

    Attributes:
        exit_code: of the process: EX_TEMPFAIL of sysexits.h, since the same command
            goes on or begins again.
    """

    exit_code = 75


def terminate(*_: object) -> None:
    """Handles SIGTERM as Ctrl-C is, so that half-written files are cleaned up."""
    raise Terminated


def cause_of(error: BaseException) -> str:
    """Returns the line of an error that says what is wrong.

    What TensorFlow raises while it traces or runs a graph begins with where that was,
    and ends with the cause.
    """
    lines = [_NODE.sub("", line.strip()) for line in str(error).splitlines()]
    lines = [line for line in lines if line and not line.startswith("[[")]
    if not lines:
        return type(error).__name__
    if lines[0] not in _PLACES_FIRST:
        return lines[0]
    # Keras lists the arguments of the call after the cause.
    end = next((i for i, x in enumerate(lines) if x.startswith(_ARGUMENTS)), None)
    return lines[:end][-1].removeprefix(f"{type(error).__name__}: ")


def printable(text: str) -> str:
    """Returns a name with escapes, as `repr` writes them, for all that is no sign."""
    if text.isprintable():
        return text
    return "".join(
        sign
        if sign.isprintable() or sign in JOINERS
        else sign.encode("unicode_escape").decode("ascii")
        for sign in text
    )


def shown_name(name: object) -> str:
    """Returns a name from a file as it is shown among others."""
    return shortened(printable(str(name)), LONGEST_NAME)


def shortened(text: str, most: int = LONGEST_LINE) -> str:
    """Returns at most so many characters, without those in the middle."""
    if len(text) <= most:
        return text
    end = (most - 3) // 3
    return f"{text[: most - 3 - end]}...{text[len(text) - end :]}"
