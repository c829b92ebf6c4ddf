"""The JSON lines that a run writes: one for each interval and each evaluation."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from libra_tf.files.atomic import write_bytes
from libra_tf.files.damaged import keep_original
from libra_tf.training.cut import Cut

METRICS_FILE = "metrics.jsonl"


def metric_lines(folder: str) -> Iterator[dict[str, Any]]:
    """Yields the lines of a run's metrics, without those that are none."""
    for line in _lines(folder):
        values = _values(line)
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


def cut_metrics(folder: str, step: int) -> Cut:
    """Takes out lines of steps after `step`, what a kill cut off, and what is damaged.

    Returns:
        What was left out.
    """
    path = Path(folder, METRICS_FILE)
    kept: list[bytes] = []
    later, damaged, is_torn, has_end = 0, 0, False, True
    for line in _lines(folder):
        has_end = line.endswith(b"\n")
        at = (_values(line) or {}).get("step")
        if isinstance(at, int):
            later += at > step
            kept += [line if has_end else line + b"\n"] * (at <= step)
        elif has_end:
            damaged += 1
        else:
            is_torn = True
    cut = Cut(path, len(kept), later, damaged, "no JSON with a step", is_torn)
    if cut.loses:
        cut = dataclasses.replace(cut, original=keep_original(path))
    if cut.changes or not has_end:  # else the next line would go on with the last
        write_bytes(path, kept)
    return cut


def _values(line: bytes) -> dict[str, Any] | None:
    """What a line says; None if it is no JSON object."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _lines(folder: str) -> Iterator[bytes]:
    path = Path(folder, METRICS_FILE)
    if path.is_file():
        with open(path, "rb") as file:
            yield from file
