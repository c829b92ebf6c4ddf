"""What finished runs gave: one JSON file for each, one CSV file for all."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import io
import os
from collections.abc import Sequence
from typing import Any

from libra_tf.ablation import machine
from libra_tf.ablation.children import Outcome
from libra_tf.ablation.mechanism import read_columns
from libra_tf.ablation.plan import Plan
from libra_tf.ablation.runs import RESULT_FILE, Run, read_result
from libra_tf.errors import UserError
from libra_tf.files.json_files import read_json, write_file, write_json
from libra_tf.training.metrics_file import last_evaluation, metric_lines

CSV_FILE = "results.csv"
ATTEMPTS_FILE = "attempts.json"
_FIRST = ("plan", "scale", "row", "seed")
_METRICS = (
    "AP",
    *(f"AP{percent}" for percent in range(50, 100, 5)),
    *("APs", "APm", "APl"),
    *("ARmax1", "ARmax10", "ARmax100", "ARs", "ARm", "ARl"),
    *("AR@100", "AR@300", "AR@1000"),
)
_LAST = (
    "steps",
    "train_seconds",
    "seconds",
    "peak_memory_mb",
    "commit",
    "date",
    "command",
    "cores",
    "threads",
    "cpu",
)


def read_metrics(run: Run) -> dict[str, float] | None:
    """Returns the metrics at the last step of a run, if it came so far."""
    steps = run.settings["trainer"]["train_steps"]
    values = last_evaluation(run.folder, steps)
    if values is None or "AP" not in values:
        return None
    return {_csv_name(k): v for k, v in values.items() if k != "seconds"}


def note_attempt(run: Run, outcome: Outcome) -> list[dict[str, Any]]:
    """Adds an attempt at a run to those before; returns all.

    A run that was stopped and resumed took the time of both, and the memory of the
    larger.
    """
    path = os.path.join(run.folder, ATTEMPTS_FILE)
    attempts = read_json(path) if os.path.isfile(path) else []
    attempts.append(dataclasses.asdict(outcome))
    write_json(path, attempts, indent=1)
    return attempts


def write_result(
    run: Run,
    plan: Plan,
    scale: str,
    metrics: dict[str, float],
    attempts: Sequence[dict[str, Any]],
    *,
    threads: int,
    commit: str,
) -> dict[str, Any]:
    """Writes what a finished run gave into its folder, in one step; returns it."""
    result = {
        "plan": plan.name,
        "scale": scale,
        "row": run.row,
        "seed": run.seed,
        "metrics": metrics,
        "steps": run.settings["trainer"]["train_steps"],
        "train_seconds": round(_train_seconds(run), 1),
        "seconds": round(sum(a["seconds"] for a in attempts), 1),
        "peak_memory_mb": round(max(a["peak_memory_mb"] for a in attempts)),
        "commit": commit,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat("T", "seconds"),
        "command": run.command,
        "cores": machine.cores(),
        "threads": threads,
        "cpu": machine.cpu_model(),
    }
    write_json(os.path.join(run.folder, RESULT_FILE), result, indent=1)
    return result


def collect(plan: Plan, scale: str, out: str) -> list[dict[str, Any]]:
    """Returns the results below `out` of the plan's rows, by seed and row.

    Raises:
        UserError: there are results of another plan or scale.
    """
    found = []
    for row in plan.rows:
        folder = os.path.join(out, "runs", row.name)
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            path = os.path.join(folder, name, RESULT_FILE)
            if not os.path.isfile(path):
                continue
            result = read_result(path)
            if (result["plan"], result["scale"]) != (plan.name, scale):
                raise UserError(
                    f"{out}: holds results of plan {result['plan']}, scale "
                    f"{result['scale']}; give another --out"
                )
            if result["row"] != row.name:
                raise UserError(
                    f"{path}: is the result of row {result['row']!r}, not of "
                    f"{row.name!r}; move or remove it"
                )
            result["mechanism"] = read_columns(os.path.join(folder, name))
            found.append(result)
    order = [row.name for row in plan.rows]
    return sorted(found, key=lambda r: (r["seed"], order.index(r["row"])))


def write_csv(results: Sequence[dict[str, Any]], out: str) -> str:
    """Writes one line per run; returns the path."""
    found = [{**r["metrics"], **r.get("mechanism", {})} for r in results]
    flat = [{**r, **values} for r, values in zip(results, found, strict=True)]
    names = {name for values in found for name in values}
    first = [name for name in _METRICS if name in names]
    columns = [*_FIRST, *first, *sorted(names - set(first)), *_LAST]
    text = io.StringIO()
    writer = csv.DictWriter(
        text, columns, extrasaction="ignore", restval="", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(flat)
    path = os.path.join(out, CSV_FILE)
    write_file(path, text.getvalue().encode())
    return path


def _csv_name(name: str) -> str:
    """AP@0.55, as the evaluator has it, beside AP50 and AP75: AP55."""
    kind, at, threshold = name.partition("@")
    if kind == "AP" and at:
        return f"AP{round(float(threshold) * 100)}"
    return name


def _train_seconds(run: Run) -> float:
    """Time spent in training intervals, compiling and the input included."""
    seconds, last = 0.0, 0
    batch_size = run.settings["task"]["train_data"]["global_batch_size"]
    for values in metric_lines(run.folder):
        if values["kind"] != "train":
            continue
        # A run that was killed goes back to its checkpoint.
        steps = values["step"] - last if values["step"] > last else 0
        last = values["step"]
        seconds += steps * batch_size / max(values["examples_per_second"], 1e-9)
    return seconds
