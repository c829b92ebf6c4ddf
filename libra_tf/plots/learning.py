"""Learning curves of runs, from their `metrics.jsonl`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from libra_tf.drawing.charts import add_legend, charts, draw_line, save_chart
from libra_tf.errors import UserError
from libra_tf.training.metrics_file import METRICS_FILE, metric_lines

DEFAULT_METRICS = ("total_loss", "AP")
_UNITS = {"examples_per_second": "images per second", "seconds": "seconds"}
_FEW_POINTS = 30  # each with a dot
_NOT_METRICS = ("kind", "step")

# Metric to (step, value), in the order of the file.
Curves = dict[str, list[tuple[int, float]]]


def plot_learning(
    runs: Sequence[str], out: str, metrics: Sequence[str] = DEFAULT_METRICS
) -> list[Path]:
    """Draws a chart for each metric, with a line for each run.

    Args:
        runs: folders of runs.
        out: see `charts.save_chart`.
        metrics: names in `metrics.jsonl`, of training or of validation.

    Returns:
        The files.

    Raises:
        UserError: a folder has no metrics, or no run has one that was asked for.
    """
    curves = {run: read_curves(run) for run in runs}
    for metric in metrics:
        known = sorted({name for found in curves.values() for name in found})
        if metric not in known:
            raise UserError(
                f"--metric {metric}: no run has it; there are {', '.join(known)}"
            )
    names = short_names(runs)
    width = 4.6 * len(metrics)
    with charts(width, 3.4, columns=len(metrics)) as (figure, axes):
        for metric, chart in zip(metrics, axes, strict=True):
            for number, run in enumerate(runs):
                points = curves[run].get(metric, [])
                if not points:
                    continue
                x, y = zip(*points, strict=True)
                marker = "o" if len(points) < _FEW_POINTS else ""
                draw_line(chart, number, x, y, names[number], marker)
            chart.set(xlabel="training step", ylabel=_label(metric))
            if metric.startswith(("AP", "AR")):
                chart.set_ylim(bottom=0)  # a share: small steps are not made large
            add_legend(chart)
        return save_chart(figure, out)


def read_curves(run: str) -> Curves:
    """Returns the curves of a run's `metrics.jsonl`.

    Raises:
        UserError: there is no such file, or nothing in it.
    """
    path = os.path.join(run, METRICS_FILE)
    if not os.path.isfile(path):
        raise UserError(
            f"{run}: there is no {METRICS_FILE} here; give the folder of a run"
        )
    curves: Curves = {}
    for line in metric_lines(run):
        step = line.get("step")
        if not isinstance(step, int):
            continue
        for name, value in line.items():
            if name not in _NOT_METRICS and isinstance(value, int | float):
                curves.setdefault(name, []).append((step, value))
    if not curves:
        raise UserError(f"{path}: has no metrics yet; train further")
    return curves


def short_names(runs: Sequence[str]) -> list[str]:
    """Returns what tells runs apart: their paths without what all begin with."""
    paths = [Path(os.path.abspath(run)) for run in runs]
    shared = os.path.commonpath([path.parent for path in paths])
    return [str(path.relative_to(shared)) for path in paths]


def _label(metric: str) -> str:
    return _UNITS.get(metric, metric.replace("_", " "))
