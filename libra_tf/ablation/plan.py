"""A plan: which experiments make the rows of a table."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

from libra_tf.errors import UserError

# As the rows are written, or small, for two cores.
SCALES = ("coco", "two_core")


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: unique in the plan; also the name of a folder.
        configs: experiment files, each over the former.
        settings: dotted setting to value, in every scale.
        two_core: the same, in the two-core scale only.
        published: name of a metric to the number in the paper.
        baseline: name of the row to compare with; None for a baseline.
        step_from: name of the row to which this one adds something, to compare with as
            well; None for none.
        group: title of the group; "" in a plan without groups.
        note: a word for the table.
        published_over: name of a metric to the number that the paper compares with,
            where that is not the published number of the plan's baseline.
    """

    name: str
    configs: tuple[str, ...]
    settings: dict[str, Any]
    two_core: dict[str, Any]
    published: dict[str, float]
    baseline: str | None
    step_from: str | None = None
    group: str = ""
    note: str = ""
    published_over: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Plan:
    """A table to measure.

    Attributes:
        name: the file's name without folder and ending.
        path: of the file, for messages.
        title: what the table shows.
        paper: where the published numbers come from.
        rows: in the order of the table.
    """

    name: str
    path: str
    title: str
    paper: str
    rows: tuple[Row, ...]

    def published_base(self, row: Row, metric: str) -> float | None:
        """Returns the number in the paper that the row's own is compared with."""
        if metric in row.published_over:
            return row.published_over[metric]
        base = next((r for r in self.rows if r.name == row.baseline), None)
        return None if base is None else base.published.get(metric)

    def choose(self, names: list[str] | None) -> tuple[Row, ...]:
        """Returns the rows of these names, in the plan's order; None: all.

        Raises:
            UserError: no row has such a name.
        """
        known = [row.name for row in self.rows]
        for name in names or ():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=3) or known
                raise UserError(
                    f"{self.path}: there is no row {name!r}; near: {', '.join(near)}"
                )
        return tuple(r for r in self.rows if names is None or r.name in names)
