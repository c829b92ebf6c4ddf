"""What was found in a data set: how often each rule applied, and to what first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from libra_tf.data.rules import RULES
from libra_tf.errors import shown_name

NUM_NAMED = 10


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
        if rule not in RULES:
            raise KeyError(rule)
        return self._found.get(rule, Finding())

    def copy(self) -> Findings:
        """Returns a counter that goes on from here."""
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

    def lines(self, strict: bool | None = None) -> Iterator[str]:
        """Yields one line for people per rule that applied.

        Args:
            strict: only of the rules that `--strict` refuses, or does not; None: all.
        """
        for name, rule in RULES.items():
            finding = self[name]
            if finding.count and strict in (None, rule.strict):
                names = ", ".join(map(shown_name, finding.first))
                more = ", ..." if finding.count > len(finding.first) else ""
                said = rule.said(finding.count)
                yield f"{finding.count} {said} ({rule.things} {names}{more})"

    def strict_lines(self, source: str) -> list[str]:
        """Returns the lines of what `--strict` refuses; none where that is none."""
        cure = "mend them or convert without --strict"
        return [f"{source}: {line}; {cure}" for line in self.lines(strict=True)]

    def as_dict(self) -> dict[str, Any]:
        """Returns what applied, for `dataset.json`."""
        return {
            name: {"count": self[name].count, "first": self[name].first}
            for name in RULES
            if self[name].count
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Findings:
        """Returns what `as_dict` gave; rules that are not known are left out.

        Raises:
            ValueError: names the rule whose entry is another.
        """
        findings = cls()
        for rule, entry in content.items():
            if rule not in RULES:
                continue
            known = entry if isinstance(entry, dict) else {}
            count, first = known.get("count"), known.get("first")
            if type(count) is not int or not isinstance(first, list):
                raise ValueError(f"findings.{rule} is not a count with the first names")
            findings._found[rule] = Finding(count, first[:NUM_NAMED])
        return findings
