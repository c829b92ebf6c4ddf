"""What was found in a data set: the rules, how often each applied, and to what first.

The table `RULES` is the rule book of every reader; `docs/data.md` shows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from libra_tf.errors import UserError

NUM_NAMED = 10


@dataclass(frozen=True)
class Rule:
    """What is said where something was mended or looks wrong.

    Attributes:
        input: what the files hold, for the page.
        text: what happened, after the count.
        things: what is named: "annotations", "images", "files" or "classes".
        strict: whether `--strict` refuses it.
    """

    input: str
    text: str
    things: str = "annotations"
    strict: bool = True


RULES = {
    "clipped": Rule(
        "a box over the border of its picture",
        "boxes crossed the border and were clipped",
    ),
    "dropped": Rule(
        "a box without area inside its picture",
        "boxes had no area inside the image and were dropped",
    ),
    "box_masks": Rule(
        "masks, and an object without segmentation",
        "objects had no segmentation and got their box as mask",
    ),
    "names_spelling": Rule(
        "a file name with backslashes, as URL (`%20`), with accents or with capitals "
        "otherwise than the file's",
        "file names were written otherwise than those of the files",
        "images",
        strict=False,
    ),
    "names_ending": Rule(
        "a file name with another ending than the only file of its name",
        "file names had another ending than the files",
        "images",
    ),
    "names_tail": Rule(
        "a file name with folders that are not there, of which the end fits one file "
        "only",
        "file names led elsewhere and were found by the end of their path",
        "images",
    ),
    "classes_by_name": Rule(
        "classes that have other ids in the splits, and the same names",
        "classes had another id than in the other splits and were matched by name",
        "classes",
    ),
    "classes_added": Rule(
        "a split that lacks classes of another",
        "classes are those of other splits only and were added to the list",
        "classes",
        strict=False,
    ),
    "files_hidden": Rule(
        "hidden files and folders, `._*`, `.DS_Store`, `Thumbs.db`, `__MACOSX`",
        "hidden files with the ending of annotations were passed over",
        "files",
        strict=False,
    ),
    "pictures_left": Rule(
        "pictures without XML file, where no list says which are meant",
        "pictures have no XML file and were left out",
        "images",
        strict=False,
    ),
    "lists_left": Rule(
        "`trainval` beside `train` or `val`",
        "lists repeat other splits and were left out",
        "files",
        strict=False,
    ),
}


@dataclass
class Finding:
    """How often a rule applied, and the first names."""

    count: int = 0
    first: list[Any] = field(default_factory=list)


class Findings:
    """Counts by rule, in the order of `RULES`."""

    def __init__(self) -> None:
        """Starts with none."""
        self._found: dict[str, Finding] = {}

    def __getitem__(self, rule: str) -> Finding:
        """Returns what was counted for a rule of `RULES`."""
        return self._found.get(rule, Finding()) if rule in RULES else self._found[rule]

    def copy(self) -> Findings:
        """Returns the same findings, to be added to."""
        other = Findings()
        for rule, finding in self._found.items():
            other._found[rule] = Finding(finding.count, list(finding.first))
        return other

    def add(self, rule: str, name: object) -> None:
        """Counts one more.

        Args:
            rule: of `RULES`.
            name: id or file name of what it applied to.
        """
        if rule not in RULES:
            raise KeyError(rule)
        finding = self._found.setdefault(rule, Finding())
        finding.count += 1
        if len(finding.first) < NUM_NAMED:
            finding.first.append(name)

    def lines(self, strict: bool = False) -> Iterator[str]:
        """Yields one line for people per rule that applied.

        Args:
            strict: only of the rules that `--strict` refuses.
        """
        for name, rule in RULES.items():
            finding = self[name]
            if finding.count and (rule.strict or not strict):
                names = ", ".join(map(str, finding.first))
                more = ", ..." if finding.count > len(finding.first) else ""
                yield f"{finding.count} {rule.text} ({rule.things} {names}{more})"

    def refuse(self, source: str) -> None:
        """Raises for all that `--strict` refuses, told at once.

        Raises:
            UserError: one line for each rule that applied.
        """
        lines = list(self.lines(strict=True))
        if lines:
            raise UserError(
                f"{source}: {'; '.join(lines)}; mend them or convert without --strict"
            )

    def as_dict(self) -> dict[str, Any]:
        """Returns what applied, for `dataset.json`."""
        return {
            name: {"count": self[name].count, "first": self[name].first}
            for name in RULES
            if self[name].count
        }
