"""Rows against their baselines, with p corrected for the whole table."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from libra_tf.ablation.cells import NONE, format_difference, format_p, metric
from libra_tf.ablation.plan import Row
from libra_tf.ablation.statistics import Difference, holm, paired_difference

Values = Mapping[str, Mapping[int, Mapping[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Compared:
    """A row's difference, and its p among the others of the table.

    Attributes:
        difference: over the seeds that both rows have.
        corrected: p by Holm's correction for all comparisons of the table that have a
            p; None without one.
    """

    difference: Difference
    corrected: float | None

    @property
    def cells(self) -> tuple[str, str, str]:
        """Difference ± standard error, p, and the corrected p."""
        return *format_difference(self.difference), format_p(self.corrected)

    @property
    def text(self) -> str:
        """All three in one cell."""
        difference, p, corrected = self.cells
        return difference if p == NONE else f"{difference} (p {p}, Holm {corrected})"


def against_baselines(
    rows: Iterable[Row], by_row: Values, name: str
) -> dict[str, Compared]:
    """Compares each row that has a baseline with it, in one metric."""
    pairs = {row.name: row.baseline for row in rows if row.baseline is not None}
    return _compare(pairs, by_row, name)


def step_by_step(rows: Iterable[Row], by_row: Values, name: str) -> dict[str, Compared]:
    """Compares each row that has a `step_from` with it, in one metric."""
    pairs = {row.name: row.step_from for row in rows if row.step_from is not None}
    return _compare(pairs, by_row, name)


def _compare(
    pairs: Mapping[str, str], by_row: Values, name: str
) -> dict[str, Compared]:
    found = {
        row: paired_difference(
            metric(by_row.get(row, {}), name), metric(by_row.get(base, {}), name)
        )
        for row, base in pairs.items()
    }
    corrected = holm([difference.p for difference in found.values()])
    return {
        row: Compared(difference, p)
        for (row, difference), p in zip(found.items(), corrected, strict=True)
    }
