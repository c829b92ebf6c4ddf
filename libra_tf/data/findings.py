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
    "turned": Rule(
        "a picture that its EXIF tag turns, annotated at its upright size, or with "
        "`--exif turn`",
        "pictures were turned upright, as their EXIF tag says",
        "images",
        strict=False,
    ),
    "stored": Rule(
        "a picture that its EXIF tag turns, with `--exif ignore`",
        "pictures were left as they are stored, whatever their EXIF tag says",
        "images",
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
