"""The table of an ablation, as Markdown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from libra_tf.ablation.cells import (
    NONE,
    format_difference,
    format_published,
    format_ratio,
    group,
    markdown,
    mean_cell,
    metric,
)
from libra_tf.ablation.comparisons import Values, against_baselines, step_by_step
from libra_tf.ablation.mechanism import mechanism_lines
from libra_tf.ablation.plan import Plan, Row
from libra_tf.ablation.statistics import paired_difference, summarize
from libra_tf.files.json_files import write_file

TABLE_FILE = "table.md"
# Heading and metric of the absolute figures.
_FIGURES = {
    "AP": "AP",
    "AP50": "AP50",
    "AP75": "AP75",
    "APs": "APs",
    "APm": "APm",
    "APl": "APl",
    "AR100": "ARmax100",
    "proposals AR@100": "AR@100",
}
_COMPARED = ("AP", "AP75")


def write_table(
    plan: Plan,
    scale: str,
    results: Sequence[dict[str, Any]],
    out: str,
    timing: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """Writes the table; returns its path.

    Args:
        plan: gives rows and published numbers.
        scale: one of `plan.SCALES`, for the caption.
        results: of the finished runs.
        out: folder.
        timing: row to its line of timing.csv.
    """
    path = os.path.join(out, TABLE_FILE)
    text = format_table(plan, scale, results, timing or {})
    write_file(path, text.encode())
    return path


def format_table(
    plan: Plan,
    scale: str,
    results: Sequence[dict[str, Any]],
    timing: Mapping[str, Mapping[str, Any]],
) -> str:
    """Returns the table as Markdown; see `write_table`."""
    by_row = group(results)
    parts = [f"# {plan.title}", _caption(plan, scale, results)]
    for title in dict.fromkeys(row.group for row in plan.rows):
        rows = [row for row in plan.rows if row.group == title]
        parts += [f"## {title}"] if title else []
        parts += [_figures(rows, by_row), _differences(plan, rows, by_row, timing)]
        parts += [*_steps(plan, rows, by_row), _thresholds(rows, by_row)]
        parts += _mechanism(rows, by_row)
    parts += [f"- {r.name}: {r.note}" for r in plan.rows if r.note]
    return "\n\n".join(parts) + "\n"


def _caption(plan: Plan, scale: str, results: Sequence[dict[str, Any]]) -> str:
    hardware = sorted({f"{r['cores']} cores, {r['cpu']}" for r in results})
    steps = sorted({r["steps"] for r in results})
    commits = sorted({r["commit"] for r in results})
    lines = [
        f"Plan `{plan.name}`, scale `{scale}`. Published: {plan.paper or 'nothing'}.",
        f"{len(results)} runs of {_join(steps)} steps on {_join(hardware)}; code "
        f"{_join(commits)}.",
        *_common_settings(results),
        "AP and AR in per cent, mean ± standard deviation over n seeds.",
    ]
    return "\n".join(lines)


def _common_settings(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """What every command sets, beyond the files: `--set` of the ablation."""
    found = [set(re.findall(r"--set (\S+)", r["command"])) for r in results]
    common = sorted(set.intersection(*found)) if found else []
    return [f"Set for all rows: {', '.join(f'`{x}`' for x in common)}."] * bool(common)


def _figures(rows: Sequence[Row], by_row: Values) -> str:
    lines = [["row", "n", *_FIGURES]]
    for row in rows:
        runs = by_row.get(row.name, {})
        cells = [mean_cell(runs, name) for name in _FIGURES.values()]
        lines.append([row.name, str(len(runs)), *cells])
    return markdown(lines)


def _thresholds(rows: Sequence[Row], by_row: Values) -> str:
    """AP per IoU threshold; rows with a baseline show the difference."""
    names = [f"AP{percent}" for percent in range(50, 100, 5)]
    lines = [["AP by IoU", *names]]
    for row in rows:
        runs, base = by_row.get(row.name, {}), by_row.get(row.baseline or "", {})
        cells = []
        for name in names:
            if row.baseline is None:
                cells.append(mean_cell(runs, name))
                continue
            found = paired_difference(metric(runs, name), metric(base, name))
            cells.append(format_difference(found)[0])
        lines.append([row.name, *cells])
    return markdown(lines)


def _mechanism(rows: Sequence[Row], by_row: Values) -> list[str]:
    lines = mechanism_lines(rows, by_row)
    if not lines:
        return []
    note = (
        "Mechanism, on augmented training images (`--measure`): share of the "
        "background RoIs with IoU above 0.05 among those that the row's sampler and "
        "others choose; gradient of the box loss of accurate coordinates (error below "
        "the loss's threshold) against the others; mean cosine of neighbouring pyramid "
        "levels before and after the neck."
    )
    return [markdown(lines), note]


def _differences(
    plan: Plan,
    rows: Sequence[Row],
    by_row: Values,
    timing: Mapping[str, Mapping[str, Any]],
) -> str:
    head = ["row", "against", "pairs"]
    for name in _COMPARED:
        head += [f"{name} difference", "p", "Holm", f"published {name}"]
        head += ["published difference"]
    lines = [[*head, "step time", "host memory MB"]]
    compared = {n: against_baselines(plan.rows, by_row, n) for n in _COMPARED}
    for row in rows:
        pairs = 0
        cells: list[str] = []
        for name in _COMPARED:
            found = compared[name].get(row.name)
            pairs = max(pairs, found.difference.n if found else 0)
            cells += found.cells if found else (NONE, NONE, NONE)
            cells += format_published(plan, row, name)
        count = str(pairs) if row.baseline else NONE
        line = [row.name, row.baseline or "(baseline)", count, *cells]
        memory = _memory(by_row.get(row.name, {}))
        lines.append([*line, format_ratio(row, timing), memory])
    note = (
        "Differences: mean of the paired differences over the seeds that both rows "
        "have ± its standard error; p of the two-sided paired t-test, and corrected "
        "by Holm for all comparisons of this plan in that metric. Step time: "
        "median over that of the row it is compared with. Memory: mean peak of the "
        "host, not of GPUs."
    )
    return f"{markdown(lines)}\n\n{note}"


def _steps(plan: Plan, rows: Sequence[Row], by_row: Values) -> list[str]:
    """What each row adds to the one that it builds on."""
    if not any(row.step_from for row in rows):
        return []
    compared = {n: step_by_step(plan.rows, by_row, n) for n in _COMPARED}
    head = [c for n in _COMPARED for c in (f"{n} difference", "p", "Holm")]
    lines = [["step", "over", *head]]
    for row in rows:
        if row.step_from:
            cells = [c for n in _COMPARED for c in compared[n][row.name].cells]
            lines.append([row.name, row.step_from, *cells])
    return [markdown(lines), "Each row against the one to which it adds something."]


def _memory(runs: Mapping[int, Mapping[str, Any]]) -> str:
    found = summarize([run["peak_memory_mb"] for run in runs.values()])
    return NONE if found.mean is None else f"{found.mean:.0f}"


def _join(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values)) or NONE
