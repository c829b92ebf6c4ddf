"""The sections of a report: a heading, how to read it, charts and tables."""

from __future__ import annotations

from dataclasses import dataclass

from libra_tf.analysis import curve_charts, error_charts
from libra_tf.analysis.analysis import SEED, Analysis, Comparison
from libra_tf.analysis.breakdown import FREQUENCIES, SIZES, GroupRow
from libra_tf.analysis.engine import CONFIDENCE
from libra_tf.analysis.report_values import number
from libra_tf.drawing import page

_PAIRS = 15  # of classes that are confused most


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        place: its name in the page.
        title: text.
        how: one sentence that says how to read it.
        parts: HTML.
    """

    place: str
    title: str
    how: str
    parts: list[str]

    def __str__(self) -> str:
        """Returns the section as HTML."""
        head = f'<h2 id="{self.place}">{page.text(self.title)}</h2>'
        return "\n".join(
            [head, f'<p class="how">{page.text(self.how)}</p>', *self.parts]
        )


def figures(analysis: Analysis) -> Section:
    """Returns COCO's twelve figures."""
    summary = analysis.metrics.summary
    names = list(summary)
    kind = {"bbox": "boxes", "segm": "masks"}[analysis.metrics.iou_type]
    cells = [number(value) for value in summary.values()]
    return Section(
        "figures",
        "COCO's figures",
        "AP is the mean over IoU 0.5 to 0.95 and over the classes, from 0 to 1; s, m "
        "and l are objects below 32x32, up to 96x96 and above; ARmax is the highest "
        "recall with so many detections per image and class; n/a: no such object.",
        [
            page.table(["precision", *names[:6]], [[kind, *cells[:6]]]),
            page.table(["recall", *names[6:]], [[kind, *cells[6:]]]),
            _beside(
                [("AP by IoU threshold", error_charts.ap_by_iou(analysis))],
                page.table(
                    ["IoU", "AP"],
                    [
                        [f"{t:.2f}", number(ap)]
                        for t, ap in analysis.metrics.ap_by_iou.items()
                    ],
                ),
            ),
        ],
    )


def classes(analysis: Analysis) -> Section:
    """Returns AP of each class, and by frequency."""
    ordered = sorted(analysis.classes, key=lambda c: -1 if c.ap is None else c.ap)
    rows = [
        [c.name, number(c.ap), number(c.ap50), number(c.ap75), number(c.ar),
         c.objects, c.images, c.frequency]
        for c in ordered
    ]  # fmt: skip
    head = ["class", "AP", "AP50", "AP75", "AR", "objects", "images", "frequency"]
    limits = ", ".join(f"{k} up to {v}" for k, v in FREQUENCIES.items() if v)
    return Section(
        "classes",
        "Classes, and how common they are",
        "A class that is far below the others is where more data or another sampling "
        "pays most; groups are by the images of this file that have the class: "
        f"{limits} (LVIS), frequent above. Lowest AP first.",
        [
            _beside(
                [
                    ("AP by class", error_charts.ap_by_class(analysis)),
                    ("AP by frequency", error_charts.ap_by_frequency(analysis)),
                ],
                _groups("frequency", analysis.frequencies),
                page.table(head, rows),
            ),
        ],
    )


def sizes(analysis: Analysis) -> Section:
    """Returns AP by size, and by class and size."""
    head = ["class"]
    for size in SIZES:
        head += [f"AP {size}", f"{size} objects"]
    rows = []
    for c in analysis.classes:
        cells: list[object] = [c.name]
        for size in SIZES:
            cells += [number(c.ap_by_size[size]), c.objects_by_size[size]]
        rows.append(cells)
    return Section(
        "sizes",
        "Sizes of objects",
        "A low AP of one size points to the resolution of the input or to the anchors "
        "of that size; an AP over a handful of objects is mostly chance.",
        [
            _beside(
                [("AP by size", error_charts.ap_by_size(analysis))],
                _groups("size", analysis.sizes),
                page.table(head, rows),
            ),
        ],
    )


def errors(analysis: Analysis) -> Section:
    """Returns TIDE's kinds of error."""
    meaning = {
        "Cls": "found in the right place as another class",
        "Loc": "right class, IoU from 0.1 to 0.5",
        "Both": "another class and IoU from 0.1 to 0.5",
        "Dupe": "an object that was found already",
        "Bkg": "IoU below 0.1 with every object",
        "Miss": "object that no detection, right or wrong, is near",
    }
    tide = analysis.tide
    rows = [
        [f"{kind}: {meaning[kind]}", f"{100 * gain:.2f}", tide.count[kind]]
        for kind, gain in tide.gain.items()
    ]
    return Section(
        "errors",
        "Kinds of error (TIDE)",
        "Each bar is the AP50, in points, that would be won if only this kind of error "
        f"were mended (AP50 now: {100 * tide.ap50:.2f}); the gains do not add up. "
        "Mend the highest first.",
        [
            _beside(
                [("AP50 to be won by kind of error", error_charts.tide_bars(analysis))],
                page.table(["kind", "AP50 to be won, points", "errors"], rows),
            ),
        ],
    )


def confusion(analysis: Analysis) -> Section:
    """Returns the confusion matrix and the pairs that are confused most."""
    names = [*(c.name for c in analysis.classes), "background"]
    matrix = analysis.confusion
    pairs = [
        (int(matrix[row, column]), names[row], names[column])
        for row in range(len(names))
        for column in range(len(names))
        if row != column and matrix[row, column]
    ]
    pairs.sort(key=lambda pair: -pair[0])
    return Section(
        "confusion",
        "Confusion matrix",
        "A row is what is annotated, a column what was found there (IoU 0.5, score "
        f">= {analysis.threshold:.3f}): the last column is missed objects, the last "
        "row detections where nothing is annotated.",
        [
            _beside(
                [("confusion matrix", error_charts.confusion(analysis))],
                page.table(
                    ["annotated", "found", "count"],
                    [[row, column, count] for count, row, column in pairs[:_PAIRS]],
                ),
            ),
        ],
    )


def thresholds(analysis: Analysis) -> Section:
    """Returns precision, recall and F1, with the best threshold of each class."""
    names = {c.category_id: c.name for c in analysis.classes}
    curves = {"all classes": analysis.overall} | {
        names[i]: curve for i, curve in analysis.by_category.items()
    }
    rows = [
        [name, number(c.best_threshold), number(c.best_f1), number(c.best_precision),
         number(c.best_recall)]
        for name, c in curves.items()
    ]  # fmt: skip
    few = len(analysis.by_category) > curve_charts.MOST_LINES
    note = f" The {curve_charts.MOST_LINES} classes with the lowest F1 are drawn." * few
    return Section(
        "thresholds",
        "Precision, recall, and which score to ask for",
        "The best threshold is the score at which F1, the harmonic mean of precision "
        "and recall at IoU 0.5, is largest; the dotted line is the one of this report. "
        f"It was chosen on these images, so it flatters a little.{note}",
        [
            _beside(
                [
                    ("mean of the classes", curve_charts.precision_recall(analysis)),
                    (
                        "by class, IoU 0.5",
                        curve_charts.class_precision_recall(analysis),
                    ),
                    ("F1 by score", curve_charts.f1_by_score(analysis)),
                ],
                page.table(["class", "best score", "F1", "precision", "recall"], rows),
            ),
        ],
    )


def calibration(analysis: Analysis) -> Section:
    """Returns whether scores are shares of correct detections."""
    found = analysis.calibration
    names = {c.category_id: c.name for c in analysis.classes}
    rows = [[names[i], number(e)] for i, e in sorted(found.by_category.items())]
    return Section(
        "calibration",
        "Calibration of the scores",
        "On the diagonal, of detections with score 0.8 eight in ten are correct; below "
        "it the detector is too sure. The expected calibration error is the mean "
        f"distance from it: {found.error:.4f}, in the worst bin "
        f"{found.largest_error:.4f}.",
        [
            _beside(
                [("reliability", curve_charts.reliability(analysis))],
                page.table(["class", "calibration error"], rows),
            ),
        ],
    )


def comparison(analysis: Analysis, found: Comparison) -> Section:
    """Returns the differences from a second detector."""
    rows = [
        [name, number(f.first), number(f.second), f"{f.difference:+.4f}",
         f"{f.low:+.4f} to {f.high:+.4f}", f"{100 * f.share_better:.0f} %"]
        for name, f in found.figures.items()
    ]  # fmt: skip
    names = {c.category_id: c.name for c in analysis.classes}
    differences = [
        [names[i], number(a), number(b), f"{b - a:+.4f}"]
        for i, (a, b) in sorted(
            found.by_category.items(), key=lambda x: x[1][0] - x[1][1]
        )
    ]
    percent = f"{100 * CONFIDENCE:.0f} %"
    return Section(
        "comparison",
        "Compared with a second detector",
        f"First: {analysis.name}; second: {found.name}. The interval holds the "
        f"difference in {percent} of {found.samples} samples that draw the images "
        f"anew, the same for both (seed {SEED}): one that has 0 inside may be chance "
        "of the images; the chance of the training's seed is not in it.",
        [
            _beside(
                [("by class", error_charts.class_differences(analysis, found))],
                page.table(
                    ["figure", "first", "second", "difference", f"{percent} interval",
                     "samples won"], rows,
                ),
                page.table(["class", "first", "second", "difference"], differences),
            ),
        ],
    )  # fmt: skip


def _groups(name: str, groups: list[GroupRow]) -> str:
    rows = [[g.name, g.classes, g.objects, number(g.ap), number(g.ar)] for g in groups]
    return page.table([name, "classes", "objects", "AP", "AR"], rows)


def _beside(charts: list[tuple[str, str]], *tables: str) -> str:
    """Charts, and tables beside them where there is room."""
    shown = [
        f'<div><h3>{name}</h3><img src="{uri}" alt="{name}"></div>'
        for name, uri in charts
    ]
    parts = "".join([*shown, f"<div>{''.join(tables)}</div>"])
    return f'<div class="charts">{parts}</div>'
