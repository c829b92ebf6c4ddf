"""The JSON lines that a run writes: one for each interval and each evaluation."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from libra_tf.files.atomic import write_text

METRICS_FILE = "metrics.jsonl"


def metric_lines(folder: str) -> Iterator[dict[str, Any]]:
    """Yields the lines of a run's metrics, without one that a kill cut off."""
    for _, values in _lines(folder):
        if values is not None:
            yield values


def last_evaluation(folder: str, step: int) -> dict[str, float] | None:
    """Returns the metrics that a run wrote for an evaluation at `step`, if it did."""
    found = None
    for values in metric_lines(folder):
        kind, at = values.pop("kind", None), values.pop("step", None)
        if kind == "validation" and at == step:
            found = values
    return found


def cut_metrics(folder: str, step: int) -> int:
    """Takes out what a run wrote of steps after `step`, and lines that are cut off.

    Returns:
        How many lines.
    """
    lines = list(_lines(folder))
    kept = [line for line, values in lines if _step_of(values) <= step]
    if len(kept) < len(lines):
        write_text(Path(folder, METRICS_FILE), kept)
    return len(lines) - len(kept)


def _step_of(values: dict[str, Any] | None) -> float:
    found = (values or {}).get("step")
    return found if isinstance(found, int) else math.inf


def _lines(folder: str) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Each line as it is, and what it says; None where it was cut off."""
    path = Path(folder, METRICS_FILE)
    if not path.is_file():
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):
                values = None
            yield line, values if isinstance(values, dict) else None
