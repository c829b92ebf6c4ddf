"""What the three imbalances look like in the runs of an ablation."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from libra_tf.ablation import children
from libra_tf.ablation.plan import Row
from libra_tf.ablation.runs import Run
from libra_tf.ablation.statistics import summarize
from libra_tf.files.json_files import read_json

MECHANISM_FILE = "mechanism.json"
# Heading, column of `diagnostics.report.columns`, factor.
_COLUMNS = (
    ("negatives above 0.05, chosen", "chosen_negatives_iou_above_0.05", 100),
    ("random", "random_negatives_iou_above_0.05", 100),
    ("IoU-balanced", "iou_balanced_negatives_iou_above_0.05", 100),
    ("hardest", "hardest_negatives_iou_above_0.05", 100),
    ("inlier / outlier gradient, own loss", "inlier_to_outlier_gradient", 100),
    ("smooth L1", "inlier_to_outlier_gradient_smooth_l1", 100),
    ("balanced L1", "inlier_to_outlier_gradient_balanced_l1", 100),
    ("level similarity before", "level_similarity_before", 1),
    ("after", "level_similarity_after", 1),
)


def measure(
    runs: Sequence[Run], *, images: int, jobs: int, stream: TextIO
) -> list[tuple[Run, str]]:
    """Measures finished runs that were not; returns those that failed, and why.

    Each in a process of its own, `libra measure`, which leaves mechanism.json in the
    run's folder.

    Args:
        runs: of the ablation; unfinished ones are left out.
        images: of the training split, the same for all runs.
        jobs: how many at a time.
        stream: for progress.
    """
    finished = [run for run in runs if run.result is not None]
    todo = [run for run in finished if not _is_measured(run, images)]
    tasks = [
        children.Task(run, _words(run, images), f"{_path(run)}.log") for run in todo
    ]
    failed = []
    with contextlib.closing(children.run_all(tasks, jobs, None)) as ended:
        for number, (task, outcome) in enumerate(ended, start=1):
            run = task.key
            text = "measured"
            if outcome.code:
                failed.append((run, outcome.reason))
                text = f"FAILED ({outcome.reason}), see {task.log}"
            line = f"{number} of {len(todo)}: {run.name}: {text}"
            print(line, file=stream, flush=True)
    return failed


def read_columns(folder: str) -> dict[str, float]:
    """Returns the measures of a run's folder as columns; empty if it has none."""
    path = os.path.join(folder, MECHANISM_FILE)
    if not os.path.isfile(path):
        return {}
    from libra_tf.diagnostics.report import columns

    return columns(read_json(path))


def mechanism_lines(
    rows: Sequence[Row], by_row: Mapping[str, Mapping[int, Mapping[str, Any]]]
) -> list[list[str]]:
    """Returns head and cells of a table, means over seeds; empty if nothing is known.

    Args:
        rows: of one table.
        by_row: row to seed to result, whose `mechanism` are the columns.
    """
    lines = []
    for row in rows:
        found = [run.get("mechanism", {}) for run in by_row.get(row.name, {}).values()]
        means = [
            summarize([factor * each[name] for each in found if name in each]).mean
            for _, name, factor in _COLUMNS
        ]
        if any(mean is not None for mean in means):
            lines.append([row.name, *map(_cell, means, _COLUMNS)])
    return [["row", *(title for title, *_ in _COLUMNS)], *lines] if lines else []


def _cell(mean: float | None, column: tuple[str, str, int]) -> str:
    if mean is None:
        return "-"
    return f"{mean:.1f}%" if column[2] == 100 else f"{mean:.2f}"


def _is_measured(run: Run, images: int) -> bool:
    """Whether the run was already measured on `images` images."""
    path = _path(run)
    return os.path.isfile(path) and read_json(path).get("images") == images


def _words(run: Run, images: int) -> list[str]:
    # A run that was taken over from another ablation has its checkpoints there.
    folder = (run.result or {}).get("reused_from", run.folder)
    words = [sys.executable, "-m", "libra_tf.commands.main", "measure", folder]
    # The checkpoint that the figures are of; there is one, of the last step.
    steps = run.settings["trainer"]["train_steps"]
    words += ["--checkpoint", os.path.join(folder, f"ckpt-{steps}")]
    return [*words, "--images", str(images), "--out", _path(run)]


def _path(run: Run) -> str:
    return os.path.join(run.folder, MECHANISM_FILE)
