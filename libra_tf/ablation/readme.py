"""Results as they are kept in a repository: without the paths of one machine."""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from libra_tf.ablation.cells import (
    NONE,
    format_published,
    format_ratio,
    group,
    markdown,
    mean_cell,
)
from libra_tf.ablation.comparisons import Compared, against_baselines, step_by_step
from libra_tf.ablation.plan import Plan, Row
from libra_tf.ablation.runs import with_scale
from libra_tf.errors import UserError

_TEXTS = ("plan", "scale", "row", "commit", "date", "command", "cpu", "cores")
_RUNS = "RUNS"
_METRICS = ("AP", "AP75")


def read_results(path: Path) -> list[dict[str, Any]]:
    """Returns the runs of a results.csv as `run_results.collect` has them."""
    with open(path, encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    results = []
    for line in lines:
        named = with_scale(line)
        numbers = {k: float(v) for k, v in named.items() if v and k not in _TEXTS}
        result = {**named, "seed": int(line["seed"]), "steps": int(line["steps"])}
        result["peak_memory_mb"] = numbers["peak_memory_mb"]
        results.append({**result, "metrics": numbers, "mechanism": numbers})
    return results


def without_paths(text: str) -> str:
    """Returns a results.csv whose commands name no folder of this machine.

    The data keep their last name, the runs are below RUNS.
    """
    lines = list(csv.DictReader(io.StringIO(text)))
    if not lines:
        raise UserError("there are no results yet; train a row first")
    for line in lines:
        line["command"] = _portable(line["command"])
    out = io.StringIO()
    writer = csv.DictWriter(out, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def _portable(command: str) -> str:
    words = shlex.split(command)
    for flag, short in (("--data", _last_name), ("--out", _below_runs)):
        place = words.index(flag) + 1
        words[place] = short(words[place])
    return shlex.join(words)


def _last_name(path: str) -> str:
    return Path(path).name


def _below_runs(path: str) -> str:
    return "/".join([_RUNS, *Path(path).parts[-2:]])


def readme_table(
    plan: Plan,
    rows: Sequence[Row],
    results: Sequence[Mapping[str, Any]],
    timing: Mapping[str, Mapping[str, Any]],
) -> str:
    """Returns a short table: AP, and what was gained, here and in the papers.

    Args:
        plan: for the published numbers.
        rows: of the table, in order; those without a run are left out.
        results: of `read_results`.
        timing: row to its line of timing.csv.
    """
    by_row = group(results)
    compared = {n: against_baselines(plan.rows, by_row, n) for n in _METRICS}
    lines = [["row", "seeds", "AP", "AP75", "AP difference", "published difference",
              "AP75 difference", "step time"]]  # fmt: skip
    for row in rows:
        runs = by_row.get(row.name, {})
        if not runs:
            continue
        means = [mean_cell(runs, name) for name in _METRICS]
        gains = [_text_of(compared[name].get(row.name)) for name in _METRICS]
        _, gap = format_published(plan, row, "AP")
        lines.append([row.name, str(len(runs)), *means, gains[0], gap, gains[1],
                      format_ratio(row, timing)])  # fmt: skip
    return markdown(lines)


def steps_table(
    plan: Plan, rows: Sequence[Row], results: Sequence[Mapping[str, Any]]
) -> str:
    """Returns what each row adds to the one that it builds on."""
    by_row = group(results)
    compared = {n: step_by_step(plan.rows, by_row, n) for n in _METRICS}
    lines = [["step", "over", *(f"{name} difference" for name in _METRICS)]]
    for row in rows:
        if row.step_from is not None:
            gains = [compared[name][row.name].text for name in _METRICS]
            lines.append([row.name, row.step_from, *gains])
    return markdown(lines)


def _text_of(found: Compared | None) -> str:
    return NONE if found is None else found.text


def replace_table(page: str, name: str, table: str) -> str:
    """Returns a text with the table between the marks of `name` replaced.

    Raises:
        UserError: the marks are not there.
    """
    start, end = f"<!-- results: {name} -->\n", "<!-- end of results -->"
    pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(page):
        raise UserError(f"the page has no line {start.strip()!r} before {end!r}")
    return pattern.sub(lambda _: f"{start}\n{table}\n\n{end}", page, count=1)


def tables(
    plan: Plan,
    results: Sequence[Mapping[str, Any]],
    timing: Mapping[str, Mapping[str, Any]],
) -> dict[str, str]:
    """Returns the short tables of a plan by name: one for each group of rows."""
    titles = list(dict.fromkeys(row.group for row in plan.rows))
    found = {}
    for title in titles:
        rows = [row for row in plan.rows if row.group == title]
        name = f"{plan.name}, {title}" if title else plan.name
        found[name] = readme_table(plan, rows, results, timing)
        if any(row.step_from for row in rows):
            found[f"{name}, step by step"] = steps_table(plan, rows, results)
    return found
