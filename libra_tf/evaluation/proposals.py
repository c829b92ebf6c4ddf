"""Class-agnostic average recall of proposals (Libra R-CNN, Table 3)."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from libra_tf.data.object_sizes import AREA_RANGES, in_range
from libra_tf.evaluation import coco, coco_checks
from libra_tf.evaluation.backends import IOU_THRESHOLDS, Backend, match
from libra_tf.evaluation.coco_checks import GroundTruth, Records

# The numbers of proposals per image that Table 3 reports; areas at the last.
PAPER_NUMBERS = (100, 300, 1000)

# A thousand proposals per image are a thousand records for the matcher. Recall is a
# ratio of counts that add up over images, so a few images at a time keep memory flat.
IMAGES_AT_A_TIME = 100


def evaluate_proposals(
    ground_truth: GroundTruth | dict[str, Any] | str | os.PathLike,
    proposals: list[dict[str, Any]] | Mapping[int, np.ndarray] | str | os.PathLike,
    *,
    numbers: Sequence[int] = PAPER_NUMBERS,
    backend: Backend = "auto",
    image_ids: Iterable[int] | None = None,
) -> dict[str, float | None]:
    """Returns the average recall over IoU .5:.05:.95 of the best N proposals.

    Args:
        ground_truth: COCO annotations, checked or not, or their JSON file; classes do
            not matter.
        proposals: COCO results (`category_id` not needed), their JSON file, or image
            id to boxes [P, 4] as x, y, width, height, best first.
        numbers: numbers of proposals per image, ascending.
        backend: see `coco.evaluate_detections`.
        image_ids: evaluate these images only.

    Returns:
        "AR@100", "AR@300", "AR@1000", and at the last number "ARs@1000", "ARm@1000",
        "ARl@1000". None: no ground truth of that kind.

    Raises:
        UserError: for a file that cannot be used, naming it and the first records.
    """
    truth = _one_class(coco.load_ground_truth(ground_truth))
    kept = sorted(coco.choose_images(truth, image_ids))
    numbers = sorted(numbers)
    by_image = _by_image(proposals, truth)
    shape = (len(IOU_THRESHOLDS), len(AREA_RANGES), len(numbers))
    matched, objects = np.zeros(shape), np.zeros(len(AREA_RANGES))
    for start in range(0, len(kept), IMAGES_AT_A_TIME):
        ids = kept[start : start + IMAGES_AT_A_TIME]
        part = truth.on_images(set(ids))
        found = [r for i in ids for r in _records(i, by_image.get(i, ()))]
        recall = match(part, found, ids, limits=numbers, backend=backend).recall[:, 0]
        counts = _objects_by_area(part.annotations)
        # The recall of a part times its objects is a whole number again (and -1
        # times no objects is nothing).
        matched += np.round(recall * counts[:, np.newaxis])
        objects += counts
    return _recalls(matched, objects, numbers)


def _one_class(truth: GroundTruth) -> GroundTruth:
    return replace(
        truth,
        categories=[{"id": 1, "name": "object"}],
        annotations=[{**a, "category_id": 1} for a in truth.annotations],
    )


def _by_image(proposals: Any, truth: GroundTruth) -> Mapping[int, Any]:
    """Returns image id to boxes, best first."""
    if isinstance(proposals, Mapping):
        return proposals
    name, records = coco.load(proposals, "proposals")
    known = truth.file_ids.own_images(image["id"] for image in truth.images)
    coco_checks.check_detections(records, name, known)
    by_image = defaultdict(list)
    for record in sorted(truth.file_ids.read(records), key=lambda r: -r["score"]):
        by_image[record["image_id"]].append(record["bbox"])
    return by_image


def _records(image_id: int, boxes: Any) -> list[dict[str, Any]]:
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4).tolist()
    return [
        {"image_id": image_id, "category_id": 1, "bbox": box, "score": -float(rank)}
        for rank, box in enumerate(boxes)
    ]


def _objects_by_area(annotations: Records) -> np.ndarray:
    areas = np.array([a["area"] for a in annotations if not a["iscrowd"]])
    return np.array([in_range(areas, size).sum() for size in AREA_RANGES])


def _recalls(
    matched: np.ndarray, objects: np.ndarray, numbers: Sequence[int]
) -> dict[str, float | None]:
    means = matched.mean(axis=0)

    def recall(area: int, number: int) -> float | None:
        return float(means[area, number] / objects[area]) if objects[area] else None

    result = {f"AR@{n}": recall(0, index) for index, n in enumerate(numbers)}
    for area, name in enumerate(AREA_RANGES):
        if name != "all":
            result[f"AR{name[0]}@{numbers[-1]}"] = recall(area, -1)
    return result
