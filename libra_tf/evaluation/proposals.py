"""Class-agnostic average recall of proposals (Libra R-CNN, Table 3)."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from libra_tf.evaluation import checks, coco
from libra_tf.evaluation.backends import AREA_RANGES, IOU_THRESHOLDS, Backend, match

# The numbers of proposals per image that Table 3 reports; areas at the last.
PAPER_NUMBERS = (100, 300, 1000)

# A thousand proposals per image are a thousand records for the matcher. Recall is a
# ratio of counts that add up over images, so a few images at a time keep memory flat.
IMAGES_AT_A_TIME = 100


def evaluate_proposals(
    ground_truth: dict[str, Any] | str | os.PathLike,
    proposals: list[dict[str, Any]] | Mapping[int, np.ndarray] | str | os.PathLike,
    *,
    numbers: Sequence[int] = PAPER_NUMBERS,
    backend: Backend = "auto",
    image_ids: Sequence[int] | None = None,
) -> dict[str, float | None]:
    """Returns the average recall over IoU .5:.05:.95 of the best N proposals.

    Args:
        ground_truth: COCO annotations, or their JSON file; classes do not matter.
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
    truth_name, truth = coco.load(ground_truth, "ground truth")
    truth = _one_class(checks.check_ground_truth(truth, truth_name))
    all_ids = [image["id"] for image in truth["images"]]
    kept = sorted(coco.choose_images(all_ids, image_ids, truth_name))
    numbers = sorted(numbers)
    by_image = _by_image(proposals, set(all_ids))
    shape = (len(IOU_THRESHOLDS), len(AREA_RANGES), len(numbers))
    matched, objects = np.zeros(shape), np.zeros(len(AREA_RANGES))
    for start in range(0, len(kept), IMAGES_AT_A_TIME):
        ids = kept[start : start + IMAGES_AT_A_TIME]
        part = coco.on_images(truth, set(ids))
        found = [r for i in ids for r in _records(i, by_image.get(i, ()))]
        recall = match(part, found, ids, limits=numbers, backend=backend).recall[:, 0]
        counts = _objects_by_area(part["annotations"])
        # The recall of a part times its objects is a whole number again (and -1
        # times no objects is nothing).
        matched += np.round(recall * counts[:, np.newaxis])
        objects += counts
    return _recalls(matched, objects, numbers)


def _one_class(truth: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict]]:
    annotations = [{**a, "category_id": 1} for a in truth["annotations"]]
    return {
        "images": truth["images"],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": annotations,
    }


def _by_image(proposals: Any, known: set[int]) -> Mapping[int, Any]:
    """Returns image id to boxes, best first."""
    if isinstance(proposals, Mapping):
        return proposals
    name, records = coco.load(proposals, "proposals")
    checks.check_detections(records, name, known)
    by_image = defaultdict(list)
    for record in sorted(records, key=lambda r: -r["score"]):
        by_image[record["image_id"]].append(record["bbox"])
    return by_image


def _records(image_id: int, boxes: Any) -> list[dict[str, Any]]:
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4).tolist()
    return [
        {"image_id": image_id, "category_id": 1, "bbox": box, "score": -float(rank)}
        for rank, box in enumerate(boxes)
    ]


def _objects_by_area(annotations: list[dict[str, Any]]) -> np.ndarray:
    areas = np.array([a["area"] for a in annotations if not a["iscrowd"]])
    ranges = AREA_RANGES.values()
    return np.array([((areas >= lo) & (areas <= hi)).sum() for lo, hi in ranges])


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
