"""Parsers of the command: examples keep their line breaks, slips get a suggestion."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterator
from typing import Any, NoReturn

DATA_HELP = (
    "folder of `libra data convert`, or one that it reads, which is converted into "
    "DIR_tfr"
)
_CHOICE = re.compile(r"invalid choice: '?([^' ]+)'? \(choose from (.*)\)", re.DOTALL)
_UNKNOWN = re.compile(r"unrecognized arguments: (.*)", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """Tells the nearest verb, choice or flag where one is not known."""

    def error(self, message: str) -> NoReturn:
        """Ends the program with usage, message and suggestion."""
        near = self._nearest(message)
        super().error(f"{message}; did you mean {near}?" if near else message)

    def _nearest(self, message: str) -> str | None:
        choice, unknown = _CHOICE.search(message), _UNKNOWN.search(message)
        if choice:
            known = re.findall(r"[^', ]+", choice[2])
            return _near(choice[1], known)
        if unknown:
            flags = [word for word in unknown[1].split() if word.startswith("--")]
            known = list(_flags_of(self))
            return _near(flags[0].partition("=")[0], known) if flags else None
        return None


def add_verb(
    verbs: Any, name: str, text: str, epilog: str | None = None
) -> argparse.ArgumentParser:
    """Adds a sub-command to what `add_subparsers` returned, and returns its parser."""
    return verbs.add_parser(
        name,
        help=text,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _near(word: str, known: list[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, known, n=1)), None)


def _flags_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yields the flags of a parser and of its sub-commands."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from _flags_of(sub)
