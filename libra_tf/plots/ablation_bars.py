"""The rows of an ablation as bars: means over seeds, with their spread."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from libra_tf.ablation.cells import group, metric
from libra_tf.ablation.readme import read_results
from libra_tf.ablation.run_results import CSV_FILE
from libra_tf.ablation.statistics import summarize
from libra_tf.drawing.charts import COLORS, charts, label_text, save_chart
from libra_tf.errors import UserError

_ROW, _FOOT = 0.32, 0.9  # inches
_ROOM = 0.15  # of the values' range, beside the bars


def plot_ablation(source: str, out: str, name: str = "AP") -> list[Path]:
    """Draws a bar for each row: mean over seeds, one standard deviation, each seed.

    The axis does not begin at 0, or differences could not be seen; it says so.

    Args:
        source: results.csv, or the folder of an ablation.
        out: see `charts.save_chart`.
        name: of a figure that is a share, such as AP75.

    Returns:
        The files.

    Raises:
        UserError: there are no results, or none with that figure.
    """
    results = _read(source)
    rows = {
        row: list(metric(runs, name).values()) for row, runs in group(results).items()
    }
    rows = {row: values for row, values in rows.items() if values}
    if not rows:
        known = sorted({k for r in results for k in r["metrics"]})
        raise UserError(f"{source}: no row has {name!r}; there are {', '.join(known)}")
    low = min(min(values) for values in rows.values())
    high = max(max(values) for values in rows.values())
    room = max(_ROOM * (high - low), 0.5)
    with charts(7.5, _FOOT + _ROW * len(rows)) as (figure, (axes,)):
        for place, values in enumerate(rows.values()):
            found = summarize(values)
            axes.barh(place, found.mean or 0.0, 0.62, color=COLORS[5])
            if found.deviation is not None:
                axes.errorbar(
                    found.mean or 0.0, place, xerr=found.deviation, color="black",
                    capsize=3, linewidth=1,
                )  # fmt: skip
            axes.plot(values, [place] * len(values), "o", color=COLORS[0], markersize=3)
        labels = [f"{label_text(r)} (n={len(v)})" for r, v in rows.items()]
        axes.set_yticks(range(len(rows)), labels)
        axes.invert_yaxis()
        axes.set_xlim(max(0.0, low - 2 * room), high + room)
        axes.set_xlabel(
            f"{name}, per cent: mean over n seeds, one standard deviation, each seed"
        )
        axes.set_title(_title(results), fontsize=9)
        axes.grid(axis="y", visible=False)
        return save_chart(figure, out)


def _read(source: str) -> list[dict[str, Any]]:
    path = os.path.join(source, CSV_FILE) if os.path.isdir(source) else source
    try:
        results = read_results(Path(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: is not a results.csv of `libra ablate` ({error!r})"
        ) from error
    if not results:
        raise UserError(f"{path}: has no results yet; train a row first")
    return results


def _title(results: Sequence[dict[str, Any]]) -> str:
    plans = sorted({f"{r['plan']}, scale {r['scale']}" for r in results})
    steps = sorted({str(r["steps"]) for r in results}, key=int)
    return f"{'; '.join(plans)}, {', '.join(steps)} steps; the axis is cut"
