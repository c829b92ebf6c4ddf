"""Cells of the tables, and what they are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from libra_tf.ablation.plan import Plan, Row
from libra_tf.ablation.statistics import Difference, Summary, summarize

NONE = "-"


def group(
    results: Sequence[Mapping[str, Any]],
) -> dict[str, dict[int, Mapping[str, Any]]]:
    """Returns row to seed to result."""
    by_row: dict[str, dict[int, Mapping[str, Any]]] = {}
    for result in results:
        by_row.setdefault(result["row"], {})[result["seed"]] = result
    return by_row


def metric(runs: Mapping[int, Mapping[str, Any]], name: str) -> dict[int, float]:
    """Returns seed to a figure in per cent, of the runs that have it."""
    return {
        seed: 100 * run["metrics"][name]
        for seed, run in runs.items()
        if run["metrics"].get(name, -1) >= 0
    }


def format_summary(value: Summary) -> str:
    """Returns "mean ± deviation"."""
    if value.mean is None:
        return NONE
    spread = "" if value.deviation is None else f" ± {value.deviation:.1f}"
    return f"{value.mean:.1f}{spread}"


def mean_cell(runs: Mapping[int, Mapping[str, Any]], name: str) -> str:
    """Returns "mean ± deviation" of a figure in per cent over the runs of a row."""
    return format_summary(summarize(list(metric(runs, name).values())))


def format_difference(value: Difference) -> tuple[str, str]:
    """Returns "difference ± standard error" and p."""
    if value.mean is None:
        return NONE, NONE
    if value.error is None or value.p is None:
        return f"{value.mean:+.2f}", NONE
    return f"{value.mean:+.2f} ± {value.error:.2f}", format_p(value.p)


def format_p(p: float | None) -> str:
    """Returns a p-value with three places."""
    if p is None:
        return NONE
    return "<.001" if p < 0.001 else f"{p:.3f}".lstrip("0")


def format_published(plan: Plan, row: Row, name: str) -> tuple[str, str]:
    """Returns a metric in the paper, and its difference to the paper's baseline."""
    published, published_base = row.published.get(name), plan.published_base(row, name)
    if published is None:
        return NONE, NONE
    if published_base is None:
        return f"{published:.1f}", NONE
    return f"{published:.1f}", f"{published - published_base:+.1f}"


def format_ratio(row: Row, timing: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the step time over that of the row's baseline."""
    line = timing.get(row.name)
    return NONE if line is None else f"{float(line['ratio']):.2f}"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Returns a table whose first line is its head."""
    head, *body = ["| " + " | ".join(line) + " |" for line in lines]
    rule = "|" + "---|" * len(lines[0])
    return "\n".join([head, rule, *body])
