"""Charts of a report over recall and over the score."""

from __future__ import annotations

import numpy as np

from libra_tf.analysis.analysis import Analysis
from libra_tf.analysis.score_curves import ScoreCurve
from libra_tf.drawing.charts import COLORS, add_legend, charts, draw_line, svg_uri

# Lines of a chart that can still be told apart; of more classes, the lowest F1.
MOST_LINES = 10
_RECALLS = np.linspace(0, 1, 101)
_SHOWN_IOUS = {0: "IoU 0.50", 5: "IoU 0.75", 9: "IoU 0.95"}


def precision_recall(analysis: Analysis) -> str:
    """Returns COCO's curve, a mean over the classes, at three IoU thresholds."""
    precision = analysis.curves.precision[..., 0, -1]
    with charts(4.6, 3.2) as (figure, (axes,)):
        for number, (index, label) in enumerate(_SHOWN_IOUS.items()):
            known = precision[index][:, (precision[index] > -1).all(axis=0)]
            if known.size:
                draw_line(axes, number, _RECALLS, known.mean(axis=1), label)
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        add_legend(axes)
        return svg_uri(figure)


def class_precision_recall(analysis: Analysis) -> str:
    """Returns precision against recall of each class at IoU 0.5."""
    with charts(4.6, 3.2) as (figure, (axes,)):
        for number, (name, curve) in enumerate(_lines(analysis)):
            draw_line(axes, number, curve.recall, curve.precision, name)
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        add_legend(axes)
        return svg_uri(figure)


def f1_by_score(analysis: Analysis) -> str:
    """Returns F1 against the score from which detections count."""
    overall = analysis.overall
    with charts(4.6, 3.2) as (figure, (axes,)):
        for number, (name, curve) in enumerate(_lines(analysis)):
            draw_line(axes, number, curve.threshold, curve.f1, name)
        axes.plot(overall.threshold, overall.f1, "k", linewidth=2, label="all classes")
        axes.axvline(analysis.threshold, color="#5f6368", linewidth=1, linestyle=":")
        axes.set(xlabel="lowest score that counts", ylabel="F1", ylim=(0, 1))
        axes.set_xlim(0, 1)
        add_legend(axes)
        return svg_uri(figure)


def reliability(analysis: Analysis) -> str:
    """Returns how often detections are correct against how sure they are."""
    bins = [b for b in analysis.calibration.bins if b.count]
    with charts(4.6, 4.2, rows=2) as (figure, (axes, counts)):
        axes.plot([0, 1], [0, 1], color="#9aa0a6", linestyle="--", label="calibrated")
        axes.plot(
            [b.confidence for b in bins],
            [b.precision for b in bins],
            "o-",
            color=COLORS[0],
            label="this detector",
        )
        axes.set(xlabel="mean score", ylabel="share correct", xlim=(0, 1))
        axes.set_ylim(0, 1)
        add_legend(axes)
        counts.bar(
            [b.low for b in bins],
            [b.count for b in bins],
            [b.high - b.low for b in bins],
            align="edge",
            color=COLORS[5],
            edgecolor="white",
        )
        counts.set(xlabel="score", ylabel="detections", xlim=(0, 1))
        return svg_uri(figure)


def _lines(analysis: Analysis) -> list[tuple[str, ScoreCurve]]:
    """Name and curve of classes; of many, those with the lowest best F1."""
    names = {c.category_id: c.name for c in analysis.classes}
    ordered = sorted(analysis.by_category.items(), key=lambda one: one[1].best_f1)
    kept = dict(ordered[:MOST_LINES])
    return [(names[i], c) for i, c in analysis.by_category.items() if i in kept]
