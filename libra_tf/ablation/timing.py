"""Step time of each row beside that of its baseline."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from libra_tf.ablation import children, machine
from libra_tf.ablation.plan import Plan, Row
from libra_tf.ablation.runs import Run
from libra_tf.files.atomic import make_folder
from libra_tf.files.json_files import read_json, write_file, write_json

TIMING_FILE = "timing.csv"
_COLUMNS = (
    "row",
    "baseline",
    "ratio",
    "ratio_low",
    "ratio_high",
    "row_ms",
    "baseline_ms",
    "rounds",
    "steps_per_round",
    "batch_size",
    "load_average",
    "cores",
    "cpu",
    "commit",
)


def read_timing(out: str) -> dict[str, dict[str, str]]:
    """Returns row to its line of timing.csv; empty if there is no such file."""
    return read_timing_file(os.path.join(out, TIMING_FILE))


def read_timing_file(path: str | os.PathLike) -> dict[str, dict[str, str]]:
    """Returns the lines of a timing.csv by row; empty if there is no such file."""
    if not os.path.isfile(path):
        return {}
    with open(path, encoding="utf-8", newline="") as file:
        return {line["row"]: line for line in csv.DictReader(file)}


def measure(
    plan: Plan,
    rows: Sequence[Row],
    runs: Sequence[Run],
    out: str,
    *,
    rounds: int,
    steps: int,
    stream: TextIO,
) -> list[tuple[str, str]]:
    """Measures rows one after the other; returns those that failed, and why.

    Each row and its baseline are built in one process of their own and take turns, so
    that what else the machine does meets both. See `libra_tf.ablation.step_time`.

    Args:
        plan: order of the rows.
        rows: those to measure; baselines are left out.
        runs: one run of each row and of each of their baselines.
        out: folder of the ablation; timing.csv grows there.
        rounds: turns of each; the medians are taken over them.
        steps: training steps of a turn.
        stream: for progress.
    """
    make_folder(os.path.join(out, "timing"))
    by_name = {run.row: run for run in runs}
    tasks = [
        _task(row, by_name, out, rounds, steps)
        for row in rows
        if row.baseline is not None
    ]
    lines: dict[str, dict[str, Any]] = dict(read_timing(out))
    failed = []
    ended = children.run_all(tasks, 1, None)
    with contextlib.closing(ended):
        for task, outcome in ended:
            row = task.key
            if outcome.code:
                failed.append((row.name, outcome.reason))
                print(f"{row.name}: FAILED ({outcome.reason}), see {task.log}",
                      file=stream, flush=True)  # fmt: skip
                continue
            line = {"row": row.name, "baseline": row.baseline, **_facts()}
            line |= read_json(task.words[-1])
            lines[row.name] = line
            taken = f"{line['row_ms']:.0f} and {line['baseline_ms']:.0f} ms"
            text = f"{row.name}: {line['ratio']:.3f} times {row.baseline} ({taken})"
            print(text, file=stream, flush=True)
            _write(plan, lines, out)
    return failed


def _task(
    row: Row, runs: dict[str, Run], out: str, rounds: int, steps: int
) -> children.Task:
    stem = os.path.join(out, "timing", row.name)
    pair = [runs[row.baseline or ""].settings, runs[row.name].settings]
    write_json(f"{stem}.settings.json", pair, indent=1)
    words = [sys.executable, "-m", "libra_tf.ablation.step_time"]
    words += [f"{stem}.settings.json", str(rounds), str(steps), f"{stem}.json"]
    return children.Task(row, words, f"{stem}.log.txt")


def _facts() -> dict[str, Any]:
    return {
        "cores": machine.cores(),
        "cpu": machine.cpu_model(),
        "commit": machine.code_version(),
    }


def _write(plan: Plan, lines: dict[str, dict[str, Any]], out: str) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines[row.name] for row in plan.rows if row.name in lines)
    write_file(os.path.join(out, TIMING_FILE), text.getvalue().encode())
