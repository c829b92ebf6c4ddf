"""The figures of a report as values for JSON, and the few that a terminal shows."""

from __future__ import annotations

import dataclasses
from typing import Any

from libra_tf.analysis.analysis import Analysis, Comparison
from libra_tf.analysis.score_curves import ScoreCurve
from libra_tf.evaluation.metrics_table import to_json_dict

_DECIMALS = 5  # of the points of curves


def report_values(analysis: Analysis) -> dict[str, Any]:
    """Returns all figures; `curves` have up to 200 points."""
    names = {c.category_id: c.name for c in analysis.classes}
    return {
        "detections": analysis.name,
        "annotations": analysis.truth.name,
        "metrics": to_json_dict(analysis.metrics),
        "classes": [dataclasses.asdict(row) for row in analysis.classes],
        "sizes": [dataclasses.asdict(row) for row in analysis.sizes],
        "frequencies": [dataclasses.asdict(row) for row in analysis.frequencies],
        "tide": dataclasses.asdict(analysis.tide),
        "threshold": analysis.threshold,
        "best_thresholds": {
            "all": _best(analysis.overall),
            **{names[i]: _best(c) for i, c in analysis.by_category.items()},
        },
        "confusion": {
            "names": [*names.values(), "background"],
            "matrix": analysis.confusion.tolist(),
        },
        "calibration": {
            "error": analysis.calibration.error,
            "largest_error": analysis.calibration.largest_error,
            "bins": [dataclasses.asdict(b) for b in analysis.calibration.bins],
            "error_by_class": {
                names[i]: e for i, e in sorted(analysis.calibration.by_category.items())
            },
        },
        "images": [dataclasses.asdict(image) for image in analysis.images],
        "label_candidates": _candidates(analysis, names),
        "comparison": _comparison(analysis.comparison, names),
        "curves": {
            "all": _points(analysis.overall),
            **{names[i]: _points(c) for i, c in analysis.by_category.items()},
        },
    }


def terminal_table(analysis: Analysis) -> str:
    """Returns the main figures in a few lines."""
    summary = analysis.metrics.summary
    lines = [
        f"{analysis.metrics.num_detections} detections on {len(analysis.images)} "
        f"images, {sum(c.objects for c in analysis.classes)} objects of "
        f"{len(analysis.classes)} classes",
        "  ".join(f"{k} {number(summary[k])}" for k in list(summary)[:6]),
        "  ".join(f"{k} {number(summary[k])}" for k in list(summary)[6:]),
        "AP50 to be won by errors of a kind: "
        + "  ".join(f"{k} {v:.4f}" for k, v in analysis.tide.gain.items()),
        f"best F1 {analysis.overall.best_f1:.4f} at score "
        f"{number(analysis.overall.best_threshold)}; calibration error "
        f"{analysis.calibration.error:.4f}; {len(analysis.candidates)} candidates of "
        "wrong annotations",
    ]
    if analysis.comparison:
        found = analysis.comparison.figures["AP"]
        lines.append(
            f"AP of {analysis.comparison.name}: {number(found.second)}, difference "
            f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
        )
    return "\n".join(lines)


def number(value: float | None) -> str:
    """Returns a figure, or n/a where there is none."""
    return "n/a" if value is None else f"{value:.4f}"


def _best(curve: ScoreCurve) -> dict[str, float | None]:
    return {
        "score": curve.best_threshold,
        "f1": curve.best_f1,
        "precision": curve.best_precision,
        "recall": curve.best_recall,
    }


def _points(curve: ScoreCurve) -> dict[str, list[float]]:
    names = ("threshold", "precision", "recall", "f1")
    return {name: getattr(curve, name).round(_DECIMALS).tolist() for name in names}


def _candidates(analysis: Analysis, names: dict[int, str]) -> list[dict[str, Any]]:
    classes = {a["id"]: names[a["category_id"]] for a in analysis.truth.annotations}
    files = {image.image_id: image.file_name for image in analysis.images}
    found = []
    for candidate in analysis.candidates:
        detection = analysis.detections[candidate.detection]
        found.append(
            {
                "kind": candidate.kind,
                "image_id": detection["image_id"],
                "file_name": files[detection["image_id"]],
                "bbox": [float(v) for v in detection["bbox"]],
                "class": names[detection["category_id"]],
                "score": float(detection["score"]),
                "annotated_class": classes.get(candidate.annotation),
                "iou": candidate.iou,
            }
        )
    return found


def _comparison(
    comparison: Comparison | None, names: dict[int, str]
) -> dict[str, Any] | None:
    if comparison is None:
        return None
    return {
        "detections": comparison.name,
        "samples": comparison.samples,
        "figures": {k: dataclasses.asdict(v) for k, v in comparison.figures.items()},
        "classes": {
            names[i]: {"first": a, "second": b, "difference": b - a}
            for i, (a, b) in sorted(comparison.by_category.items())
        },
    }
