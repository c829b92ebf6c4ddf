"""Detection metrics as a table for people and as values for JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

from libra_tf.errors import shown_name
from libra_tf.evaluation.coco import DetectionMetrics

CLASS_COLUMNS = ("AP", "AP50", "AP75", "AR")


def format_table(metrics: DetectionMetrics, title: str | None = None) -> str:
    """Returns a summary and one line per class; `n/a`: no ground truth of that kind."""
    kind = {"bbox": "boxes", "segm": "masks"}.get(metrics.iou_type, metrics.iou_type)
    lines = [title] if title else []
    lines.append(
        f"{kind}: {metrics.num_detections} detections on "
        f"{metrics.num_images_evaluated} of {metrics.num_images} images, "
        f"at most {metrics.max_detections} each"
    )
    names, values = list(metrics.summary), list(metrics.summary.values())
    half = (len(names) + 1) // 2
    for part in (slice(0, half), slice(half, None)):
        widths = [max(len(name), 6) for name in names[part]]
        cells = zip(names[part], map(_number, values[part]), widths, strict=True)
        head, body = zip(*((n.rjust(w), v.rjust(w)) for n, v, w in cells), strict=True)
        lines += ["", "  ".join(head), "  ".join(body)]
    return "\n".join([*lines, "", *_class_lines(metrics)])


def to_json_dict(metrics: DetectionMetrics) -> dict[str, Any]:
    """Returns the metrics as values that `json` takes."""
    values = dataclasses.asdict(metrics)
    values["ap_by_iou"] = {f"{t:.2f}": ap for t, ap in metrics.ap_by_iou.items()}
    return values


def _class_lines(metrics: DetectionMetrics) -> list[str]:
    names = [shown_name(name) for name in metrics.per_class]
    width = max(map(len, ["class", *names]))
    columns = "".join(column.rjust(8) for column in CLASS_COLUMNS)
    lines = [f"{'class'.ljust(width)}{columns} objects".rstrip()]
    for name, row in zip(names, metrics.per_class.values(), strict=True):
        figures = "".join(_number(row[column]).rjust(8) for column in CLASS_COLUMNS)
        lines.append(f"{name.ljust(width)}{figures}{row['num_ground_truth']:>8}")
    return lines


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"
