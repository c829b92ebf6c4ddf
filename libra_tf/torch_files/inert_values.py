"""What a pickle's objects become where nothing is imported and nothing is called."""

from __future__ import annotations

import dataclasses


class PickleError(ValueError):
    """A pickle that is damaged, cut short or no pickle."""


@dataclasses.dataclass(frozen=True)
class Global:
    """A name that a pickle refers to: "module name"; it is never looked up."""

    name: str


@dataclasses.dataclass(frozen=True, eq=False)
class Inert:
    """Stands for an object of a class that is not known; its content is gone."""

    name: str
