"""Writes `report.html` and `report.json`."""

from __future__ import annotations

from pathlib import Path

from libra_tf.analysis import sections
from libra_tf.analysis.analysis import Analysis
from libra_tf.analysis.image_outcomes import ImageOutcome, best, worst
from libra_tf.analysis.pictures import KEY, WRONG, Pictures
from libra_tf.analysis.report_values import report_values
from libra_tf.analysis.sections import Section
from libra_tf.drawing import page
from libra_tf.files.json_files import write_file, write_json

HTML, JSON = "report.html", "report.json"
_NO_PICTURES = "Give --images DIR to see them drawn."
_LISTED = 30  # candidates in a table


def write_report(
    analysis: Analysis, out: str, images: str | None = None, examples: int = 6
) -> Path:
    """Writes the report of an analysis.

    Args:
        analysis: of one detector, or of two.
        out: folder.
        images: folder of the images; None: nothing is drawn.
        examples: worst and best images that are shown, and twice as many candidates.

    Returns:
        The path of the page.

    Raises:
        UserError: an image cannot be read, or a file cannot be written.
    """
    pictures = Pictures(analysis, images) if images else None
    other = analysis.comparison
    found = [
        sections.figures(analysis),
        *([sections.comparison(analysis, other)] if other else []),
        sections.errors(analysis),
        sections.classes(analysis),
        sections.sizes(analysis),
        sections.confusion(analysis),
        sections.thresholds(analysis),
        sections.calibration(analysis),
        _image_section(analysis, pictures, examples),
        _candidate_section(analysis, pictures, 2 * examples),
    ]
    write_json(Path(out, JSON), report_values(analysis), indent=1)
    path = Path(out, HTML)
    write_file(path, _page(analysis, found).encode("utf-8", "replace"))
    return path


def _page(analysis: Analysis, found: list[Section]) -> str:
    links = " ".join(f'<a href="#{s.place}">{page.text(s.title)}</a>' for s in found)
    kind = {"bbox": "boxes", "segm": "masks"}[analysis.metrics.iou_type]
    objects = sum(c.objects for c in analysis.classes)
    about = (
        f"{analysis.metrics.num_detections} detections ({kind}) of {analysis.name}, "
        f"{objects} objects of {len(analysis.classes)} classes on "
        f"{len(analysis.images)} images of {analysis.truth.name}."
    )
    head = [f"<p>{page.text(about)}</p>", f"<nav>{links}</nav>"]
    return page.page("Analysis of detections", [*head, *map(str, found)])


def _image_section(
    analysis: Analysis, pictures: Pictures | None, number: int
) -> Section:
    low, high = worst(analysis.images, number), best(analysis.images, number)
    how = (
        f"By F1 of the detections with score >= {analysis.threshold:.3f} at IoU 0.5. "
        "Lines lie outside of the boxes, and dashes are ground truth."
    )
    parts = [page.key(KEY)] if pictures else [f"<p>{_NO_PICTURES}</p>"]
    for title, shown in (("Worst", low), ("Best", high)):
        parts.append(f"<h3>{title}</h3>")
        parts.append(_drawn(shown, pictures) if pictures else _listed(shown))
    return Section("images", "Worst and best images", how, parts)


def _drawn(images: list[ImageOutcome], pictures: Pictures) -> str:
    drawn = [pictures.whole(image) for image in images]
    shown = "\n".join(page.picture(p.uri, p.caption) for p in drawn)
    return f'<div class="pictures">\n{shown}\n</div>'


def _listed(images: list[ImageOutcome]) -> str:
    rows = [[i.file_name, f"{i.f1:.2f}", i.correct, i.wrong, i.missed] for i in images]
    return page.table(["image", "F1", "correct", "wrong", "missed"], rows)


def _candidate_section(
    analysis: Analysis, pictures: Pictures | None, number: int
) -> Section:
    found = analysis.candidates
    missing = sum(c.kind == "missing" for c in found)
    how = (
        f"Confident detections that contradict the annotations: {missing} where no "
        f"object is annotated, {len(found) - missing} where another class is. Look at "
        "each: if the detector is right, mend the annotation before training again."
    )
    parts = []
    if pictures and found:
        parts.append(
            page.key(
                [("detection", WRONG, False), ("annotations", (150, 150, 150), True)]
            )
        )
        drawn = [pictures.candidate(c) for c in found[:number]]
        shown = "\n".join(page.picture(p.uri, p.caption) for p in drawn)
        parts.append(f'<div class="small pictures">\n{shown}\n</div>')
    elif found:
        parts.append(f"<p>{_NO_PICTURES}</p>")
    parts.append(_candidate_table(analysis))
    return Section("labels", "Candidates of wrong annotations", how, parts)


def _candidate_table(analysis: Analysis) -> str:
    rows = report_values(analysis)["label_candidates"]
    if not rows:
        return "<p>None.</p>"
    cells = [
        [r["file_name"], r["class"], f"{r['score']:.3f}",
         r["annotated_class"] or "none",
         ", ".join(f"{v:.0f}" for v in r["bbox"])]
        for r in rows[:_LISTED]
    ]  # fmt: skip
    head = ["image", "found", "score", "annotated", "x, y, width, height"]
    more = f"<p>{len(rows) - _LISTED} more are in report.json.</p>"
    return page.table(head, cells) + more * (len(rows) > _LISTED)
