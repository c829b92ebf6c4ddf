"""COCO average precision and recall of boxes and masks, overall and per class.

The figures are computed here from COCO's precision and recall curves, because the
printed summary of `pycocotools` is fixed to 100 detections per image and reports -1
for any other number.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from libra_tf.data.object_sizes import AREA_RANGES
from libra_tf.errors import UserError
from libra_tf.evaluation import coco_checks
from libra_tf.evaluation.backends import (
    IOU_THRESHOLDS,
    Backend,
    Curves,
    IouType,
    match,
)
from libra_tf.evaluation.coco_checks import GroundTruth, Records
from libra_tf.files.json_files import read_json

# COCO reports recall at these numbers of detections per image, and at the limit.
RECALL_LIMITS = (1, 10)
AREAS = list(AREA_RANGES)


@dataclass(frozen=True)
class DetectionMetrics:
    """Average precision and recall of one set of detections.

    Attributes:
        summary: AP, AP50, AP75, APs, APm, APl, ARmax1, ARmax10, ARmax<limit>, ARs,
            ARm, ARl (Model Garden's names). None: no ground truth of that kind.
        per_class: class name to AP, AP50, AP75, AR and num_ground_truth.
        ap_by_iou: IoU threshold (0.5, 0.55, ... 0.95) to AP.
        num_images: images in the annotation file.
        num_images_evaluated: images that the figures cover.
        num_detections: detections on those images.
        iou_type: "bbox" or "segm".
        max_detections: detections per image and class that count.
    """

    summary: dict[str, float | None]
    per_class: dict[str, dict[str, float | int | None]]
    ap_by_iou: dict[float, float | None]
    num_images: int
    num_images_evaluated: int
    num_detections: int
    iou_type: str = "bbox"
    max_detections: int = 100


def evaluate_detections(
    ground_truth: GroundTruth | dict[str, Any] | str | os.PathLike,
    detections: list[dict[str, Any]] | str | os.PathLike,
    *,
    iou_type: IouType = "bbox",
    max_detections: int = 100,
    image_ids: Iterable[int] | None = None,
    backend: Backend = "auto",
    own_masks: bool = False,
) -> DetectionMetrics:
    """Returns COCO metrics of detections over all images of an annotation file.

    An image without detections counts: its objects are missed.

    Args:
        ground_truth: COCO annotations, checked or not, or their JSON file.
        detections: COCO results, or their JSON file. Their ids are those of the data
            set's source, which differ from the annotation file's where it has a
            `file_id`.
        iou_type: "bbox", or "segm" for masks. Small, medium and large are told apart
            by the annotated area; of unmatched detections by box or mask area.
        max_detections: detections per image and class that count, best first.
        image_ids: evaluate these images only.
        backend: "auto" takes `faster_coco_eval` where it is installed; the figures
            are equal.
        own_masks: the detections' masks were encoded here, and those of the ground
            truth were checked when they were read: not looked into again.

    Raises:
        UserError: for a file that cannot be used, naming it and the first records.
    """
    if iou_type not in ("bbox", "segm"):
        raise UserError(f"iou_type {iou_type!r}: choose bbox or segm")
    if max_detections < 1:
        raise UserError(f"max_detections is {max_detections}; it must be at least 1")
    truth = load_ground_truth(ground_truth)
    name, found = load_detections(detections, truth)
    kept, num_images = choose_images(truth, image_ids), len(truth.images)
    truth = truth.on_images(kept)
    found = [d for d in found if d["image_id"] in kept]
    if iou_type == "segm":
        coco_checks.check_have_masks(truth.annotations, truth.name, (list, dict))
        coco_checks.check_have_masks(found, name, (dict,))
        if not own_masks:
            coco_checks.check_masks(truth.annotations, truth.name, truth)
            coco_checks.check_masks(found, name, truth)
    limits = sorted({n for n in RECALL_LIMITS if n < max_detections} | {max_detections})
    curves = match(
        truth, found, kept, iou_type=iou_type, limits=limits, backend=backend
    )
    return detection_metrics(
        curves,
        truth,
        limits,
        num_images=num_images,
        num_detections=len(found),
        iou_type=iou_type,
    )


def detection_metrics(
    curves: Curves,
    truth: GroundTruth,
    limits: list[int],
    *,
    num_images: int,
    num_detections: int,
    iou_type: IouType = "bbox",
) -> DetectionMetrics:
    """Returns the figures of COCO's curves, whoever did the matching.

    Args:
        curves: of the categories in ascending order of id, `AREAS` and `limits`.
        truth: on the images that were evaluated.
        limits: numbers of detections per image, ascending; the last is for AP.
        num_images: images of the annotation file.
        num_detections: detections on the images that were evaluated.
        iou_type: of the matching.
    """
    names = category_names(truth.categories)
    return DetectionMetrics(
        summary=_summary(curves, limits),
        per_class=_per_class(curves, truth.annotations, names),
        ap_by_iou={
            round(float(t), 2): mean_existing(curves.precision[i, ..., 0, -1])
            for i, t in enumerate(IOU_THRESHOLDS)
        },
        num_images=num_images,
        num_images_evaluated=len(truth.images),
        num_detections=num_detections,
        iou_type=iou_type,
        max_detections=limits[-1],
    )


def choose_images(truth: GroundTruth, image_ids: Iterable[int] | None) -> set[int]:
    """Returns the ids to evaluate; all of the file unless some are asked for."""
    all_ids = {image["id"] for image in truth.images}
    if image_ids is None:
        return all_ids
    wanted = set(image_ids)
    unknown = sorted(wanted - all_ids, key=str)
    if unknown:
        raise UserError(f"{truth.name}: has no image {coco_checks.first_few(unknown)}")
    if not wanted:
        raise UserError(
            f"{truth.name}: no image was chosen; there is nothing to evaluate"
        )
    return wanted


def category_names(categories: list[dict[str, Any]]) -> dict[int, str]:
    """Returns id to name, ascending; a name that two ids share gets the id added."""
    names = {c["id"]: str(c.get("name", c["id"])) for c in categories}
    texts = list(names.values())
    return {
        i: f"{name} (id {i})" if texts.count(name) > 1 else name
        for i, name in sorted(names.items())
    }


def load_ground_truth(
    source: GroundTruth | dict[str, Any] | str | os.PathLike,
) -> GroundTruth:
    """Returns annotations that have been checked, once."""
    if isinstance(source, GroundTruth):
        return source
    name, data = load(source, "ground truth")
    return coco_checks.check_ground_truth(data, name)


def load_detections(source: Any, truth: GroundTruth) -> tuple[str, Records]:
    """Returns the name for messages and checked COCO results, with our ids.

    Args:
        source: COCO results with the ids of the data set's source, or their JSON file.
        truth: of the same images and categories.

    Raises:
        UserError: for a file that cannot be used, naming it and the first records.
    """
    name, found = load(source, "detections")
    ids = truth.file_ids
    image_ids = ids.own_images(image["id"] for image in truth.images)
    category_ids = ids.own_categories(c["id"] for c in truth.categories)
    coco_checks.check_detections(found, name, image_ids, category_ids)
    return name, ids.read(found)


def load(source: Any, kind: str) -> tuple[str, Any]:
    """Returns the name for messages and the content of a file or of a value."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source), read_json(source)
    return kind, source


def mean_existing(values: np.ndarray) -> float | None:
    """Returns the mean over what exists; COCO's curves mark the rest with -1."""
    values = values[values > -1]
    return float(values.mean()) if values.size else None


def _threshold(iou: float) -> int:
    return int(np.argmin(np.abs(IOU_THRESHOLDS - iou)))


def _summary(curves: Curves, limits: list[int]) -> dict[str, float | None]:
    # The limit is the last of `limits`; "all" is the first of the areas.
    precision, recall = curves.precision[..., -1], curves.recall
    summary = {
        "AP": mean_existing(precision[..., 0]),
        "AP50": mean_existing(precision[_threshold(0.5), ..., 0]),
        "AP75": mean_existing(precision[_threshold(0.75), ..., 0]),
    }
    for number, area in enumerate(AREAS[1:], start=1):
        summary[f"AP{area[0]}"] = mean_existing(precision[..., number])
    for number, limit in enumerate(limits):
        summary[f"ARmax{limit}"] = mean_existing(recall[:, :, 0, number])
    for number, area in enumerate(AREAS[1:], start=1):
        summary[f"AR{area[0]}"] = mean_existing(recall[:, :, number, -1])
    return summary


def _per_class(
    curves: Curves, annotations: list[dict[str, Any]], names: dict[int, str]
) -> dict[str, dict[str, float | int | None]]:
    counts = dict.fromkeys(names, 0)
    for annotation in annotations:
        counts[annotation["category_id"]] += not annotation["iscrowd"]
    precision, recall = curves.precision[..., 0, -1], curves.recall[..., 0, -1]
    return {
        name: {
            "AP": mean_existing(precision[:, :, index]),
            "AP50": mean_existing(precision[_threshold(0.5), :, index]),
            "AP75": mean_existing(precision[_threshold(0.75), :, index]),
            "AR": mean_existing(recall[:, index]),
            "num_ground_truth": counts[category_id],
        }
        for index, (category_id, name) in enumerate(names.items())
    }
