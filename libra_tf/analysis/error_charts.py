"""Charts of a report: AP by class, size, IoU and frequency, and kinds of error."""

from __future__ import annotations

import numpy as np

from libra_tf.analysis.analysis import Analysis, Comparison
from libra_tf.analysis.breakdown import FREQUENCIES, ClassRow
from libra_tf.drawing.charts import COLORS, add_legend, charts, label_text, svg_uri

MOST_CLASSES = 40  # of a chart of classes; the lowest and the highest of more
_MOST_CELLS = 20  # of a confusion matrix
_MOST_NUMBERS = 13  # of a matrix whose cells have room for a number
_LONGEST_NAME = 24
_ROW, _FOOT = 0.21, 0.7  # inches


def ap_by_iou(analysis: Analysis) -> str:
    """Returns AP against the IoU from which a detection counts as correct."""
    values = {t: ap for t, ap in analysis.metrics.ap_by_iou.items() if ap is not None}
    with charts(4.4, 2.9) as (figure, (axes,)):
        axes.plot([*values], [*values.values()], "o-", color=COLORS[0])
        axes.set(xlabel="IoU threshold", ylabel="AP", ylim=(0, 1))
        return svg_uri(figure)


def ap_by_size(analysis: Analysis) -> str:
    """Returns AP and highest recall of small, medium and large objects."""
    sizes = analysis.sizes
    names = [f"{s.name}\n{s.objects} objects" for s in sizes]
    places = np.arange(len(sizes))
    with charts(4.4, 2.9) as (figure, (axes,)):
        for shift, label, values, color in (
            (-0.19, "AP", [s.ap for s in sizes], COLORS[0]),
            (0.19, "highest recall", [s.ar for s in sizes], COLORS[5]),
        ):
            heights = [v or 0 for v in values]
            bars = axes.bar(places + shift, heights, 0.36, label=label, color=color)
            texts = ["none" if v is None else f"{v:.2f}" for v in values]
            axes.bar_label(bars, texts, fontsize=8)
        axes.set_xticks(places, names)
        axes.set(ylabel="mean over IoU 0.5 to 0.95", ylim=(0, 1.08))
        axes.grid(axis="x", visible=False)
        add_legend(axes, "upper left")
        return svg_uri(figure)


def ap_by_class(analysis: Analysis) -> str:
    """Returns AP of each class, the highest on top."""
    rows = _extremes(analysis.classes)
    with charts(5.4, _FOOT + _ROW * max(len(rows), 3)) as (figure, (axes,)):
        heights = [row.ap or 0 for row in rows]
        bars = axes.barh([_short(row.name) for row in rows], heights, color=COLORS[0])
        axes.bar_label(bars, [f"{h:.2f}" for h in heights], padding=2, fontsize=8)
        axes.set(xlabel="AP", xlim=(0, 1.08))
        axes.margins(y=0.01)
        axes.set_title(_left_out(sum(c.ap is not None for c in analysis.classes)))
        axes.grid(axis="y", visible=False)
        return svg_uri(figure)


def ap_by_frequency(analysis: Analysis) -> str:
    """Returns AP of each class against the number of images that have it."""
    rows = [row for row in analysis.classes if row.ap is not None]
    with charts(4.4, 2.9) as (figure, (axes,)):
        for number, name in enumerate(FREQUENCIES):
            its = [row for row in rows if row.frequency == name]
            x, y = [row.images for row in its], [row.ap or 0.0 for row in its]
            axes.plot(x, y, "o", color=COLORS[number], label=f"{name} ({len(its)})")
        axes.set_xscale("log")
        axes.set(xlabel="images that have the class", ylabel="AP", ylim=(0, 1))
        for most in filter(None, FREQUENCIES.values()):
            axes.axvline(most, color="#9aa0a6", linewidth=0.8, linestyle=":")
        add_legend(axes)
        return svg_uri(figure)


def tide_bars(analysis: Analysis) -> str:
    """Returns what each kind of error costs."""
    gain, count = analysis.tide.gain, analysis.tide.count
    with charts(4.6, 2.9) as (figure, (axes,)):
        bars = axes.bar([*gain], [100 * v for v in gain.values()], color=COLORS[1])
        texts = [f"{100 * gain[k]:.2f}\n{count[k]} errors" for k in gain]
        axes.bar_label(bars, texts, fontsize=8, padding=2)
        axes.margins(y=0.25)
        axes.set(ylabel="AP50 to be won, points", xlabel="kind of error")
        axes.grid(axis="x", visible=False)
        return svg_uri(figure)


def confusion(analysis: Analysis) -> str:
    """Returns the confusion matrix; of many classes, those that are confused most."""
    matrix, names = analysis.confusion, [c.name for c in analysis.classes]
    kept = _most_confused(matrix)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    chosen = [*kept, len(names)]
    cells, shown = matrix[np.ix_(chosen, chosen)], shares[np.ix_(chosen, chosen)]
    labels = [_short(names[k]) for k in kept] + ["background"]
    side = 1.8 + 0.42 * len(chosen)
    with charts(side + 0.7, side) as (figure, (axes,)):
        image = axes.imshow(shown, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(chosen)), labels, rotation=60, ha="right")
        axes.set_yticks(range(len(chosen)), labels)
        axes.set(xlabel="found", ylabel="annotated")
        axes.grid(visible=False)
        figure.colorbar(image, label="share of the row", shrink=0.8)
        if len(chosen) <= _MOST_NUMBERS:
            for (row, column), value in np.ndenumerate(cells):
                color = "white" if shown[row, column] > 0.6 else "black"
                text = str(value) if value or row == column else ""
                axes.text(
                    column, row, text, color=color, ha="center", va="center", fontsize=7
                )
        return svg_uri(figure)


def class_differences(analysis: Analysis, comparison: Comparison) -> str:
    """Returns the difference of AP of each class."""
    names = {c.category_id: c.name for c in analysis.classes}
    both = comparison.by_category
    found = sorted(((b - a, names[i]) for i, (a, b) in both.items()), reverse=True)
    if len(found) > MOST_CLASSES:
        found = found[: MOST_CLASSES // 2] + found[-MOST_CLASSES // 2 :]
    found.reverse()
    with charts(5.4, _FOOT + _ROW * max(len(found), 3)) as (figure, (axes,)):
        values = [100 * value for value, _ in found]
        colors = [COLORS[0] if value >= 0 else COLORS[1] for value in values]
        bars = axes.barh([_short(name) for _, name in found], values, color=colors)
        axes.bar_label(bars, [f"{v:+.1f}" for v in values], padding=2, fontsize=8)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.margins(x=0.2, y=0.01)
        axes.set_title(_left_out(len(both)))
        axes.set(xlabel="AP of the second minus AP of the first, points")
        axes.grid(axis="y", visible=False)
        return svg_uri(figure)


def _left_out(classes: int) -> str:
    half = MOST_CLASSES // 2
    return f"the lowest and the highest {half} of {classes}" * (classes > MOST_CLASSES)


def _extremes(rows: list[ClassRow]) -> list[ClassRow]:
    """Classes with objects by AP, ascending."""
    known = sorted((r for r in rows if r.ap is not None), key=lambda r: r.ap or 0)
    if len(known) > MOST_CLASSES:
        return known[: MOST_CLASSES // 2] + known[-MOST_CLASSES // 2 :]
    return known


def _most_confused(matrix: np.ndarray) -> list[int]:
    """The classes with most objects or detections of another class, in their order."""
    between = matrix[:-1, :-1] * (1 - np.eye(len(matrix) - 1, dtype=int))
    number = between.sum(axis=0) + between.sum(axis=1)
    return sorted(np.argsort(-number, kind="stable")[:_MOST_CELLS].tolist())


def _short(name: str) -> str:
    return label_text(name, _LONGEST_NAME)
