"""What was left out of a file of a run that goes on from an earlier step."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Cut:
    """What became of the entries of one file: lines, or events.

    Attributes:
        path: of the file.
        kept: number of entries that are kept.
        later: number of those of later steps, which come again.
        damaged: number of those that cannot be read.
        wrong: what is wrong with them.
        is_torn: the last one was cut off, as a kill does; it counts as none of these.
        ends_early: what follows a damaged one cannot be told apart.
        foreign: why the file was left as it is; "": it was not.
        original: the file as it was, if more went than later steps and a torn end.
    """

    path: Path
    kept: int = 0
    later: int = 0
    damaged: int = 0
    wrong: str = "damaged"
    is_torn: bool = False
    ends_early: bool = False
    foreign: str = ""
    original: Path | None = None

    @property
    def changes(self) -> bool:
        """Whether the file has to be written anew."""
        return bool(self.later or self.is_torn or self.loses)

    @property
    def loses(self) -> bool:
        """Whether more goes than what comes again."""
        return bool(self.damaged or self.ends_early)
