"""What a pickle's objects become where nothing is imported and nothing is called."""

from __future__ import annotations

import dataclasses
from typing import Any

_NAME_SIZE = 500  # characters of a class and its module
_KEY_BLOCK = 64  # bytes of a key that are compared in about the time of an instruction
_WHOLE_KEYS = 2**20


class PickleError(ValueError):
    """A pickle that is damaged, cut short or no pickle."""


@dataclasses.dataclass(frozen=True, slots=True)
class Global:
    """A name that a pickle refers to: "module name"; it is never looked up.

    Raises:
        PickleError: it is too long or could not be shown in one line.
    """

    name: str

    def __post_init__(self) -> None:
        if len(self.name) > _NAME_SIZE or not self.name.isprintable():
            raise PickleError("the name of a class is not plain text")


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Inert:
    """Stands for an object of a class that is not known; its content is gone."""

    name: str


def as_key(value: Any) -> Any:
    """Returns a value as the key of a dict, or an `Inert` for what is not one.

    Hashing nested tuples could take for ever. Numbers whose hashes collide can be
    chosen, so that a dict of them takes the square of their count; the hash of text
    cannot be foreseen.
    """
    if isinstance(value, str | bytes | bool | type(None)):
        return value
    is_small = isinstance(value, int) and abs(value) < _WHOLE_KEYS
    return value if is_small else Inert("a key")


def key_cost(key: Any) -> int:
    """Returns the units of a `Budget` that a key takes: text is compared in whole."""
    return 1 + len(key) // _KEY_BLOCK if isinstance(key, str | bytes) else 1
