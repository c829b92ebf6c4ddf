"""The two COCO matchers behind one call: `pycocotools` and `faster_coco_eval`.

They give equal figures; the second is written in C++ and optional.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from libra_tf.data.object_sizes import AREA_RANGES
from libra_tf.errors import UserError
from libra_tf.evaluation.coco_checks import GroundTruth

Backend = Literal["auto", "pycocotools", "faster"]
IouType = Literal["bbox", "segm"]

# COCO's definition: .50:.05:.95.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)


@dataclass(frozen=True)
class Curves:
    """What matching gives: -1 stands for "no ground truth of that kind".

    Attributes:
        precision: [T, R, C, A, M] at T IoU thresholds, R recalls, C categories,
            A areas and M numbers of detections per image.
        recall: [T, C, A, M], the highest recall.
    """

    precision: np.ndarray
    recall: np.ndarray


def match(
    ground_truth: GroundTruth,
    detections: list[dict[str, Any]],
    image_ids: Iterable[int],
    *,
    iou_type: IouType = "bbox",
    limits: Sequence[int] = (1, 10, 100),
    backend: Backend = "auto",
) -> Curves:
    """Matches detections to ground truth as COCO does.

    Args:
        ground_truth: annotations that have been checked.
        detections: COCO results on the images of `ground_truth`.
        image_ids: the images that count, with and without detections.
        iou_type: overlap of boxes or of masks; it also says which area puts a
            detection among the small, medium or large ones.
        limits: numbers of detections per image, ascending.
        backend: "auto" takes `faster_coco_eval` where it is installed.

    Returns:
        The curves; categories in ascending order of id.
    """
    coco_class, eval_class = _classes(backend)
    # pycocotools reports its progress on standard output.
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _index(coco_class, ground_truth, ground_truth.annotations)
        found = _index(coco_class, ground_truth, _with_areas(detections, iou_type))
        evaluation = eval_class(truth, found, iouType=iou_type)
        evaluation.params.imgIds = sorted(image_ids)
        evaluation.params.catIds = sorted(c["id"] for c in ground_truth.categories)
        evaluation.params.maxDets = list(limits)
        evaluation.params.areaRng = [list(r) for r in AREA_RANGES.values()]
        evaluation.params.areaRngLbl = list(AREA_RANGES)
        evaluation.params.iouThrs = IOU_THRESHOLDS
        evaluation.evaluate()
        evaluation.accumulate()
    return Curves(
        np.asarray(evaluation.eval["precision"]), np.asarray(evaluation.eval["recall"])
    )


def _classes(backend: Backend) -> tuple[type, type]:
    if backend not in ("auto", "pycocotools", "faster"):
        raise UserError(f"backend {backend!r}: choose auto, pycocotools or faster")
    installed = importlib.util.find_spec("faster_coco_eval") is not None
    if backend == "faster" and not installed:
        raise UserError("backend 'faster': pip install faster-coco-eval, or use auto")
    if backend != "pycocotools" and installed:
        from faster_coco_eval import COCO, COCOeval_faster

        return COCO, COCOeval_faster
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return COCO, COCOeval


def _index(
    coco_class: type, ground_truth: GroundTruth, annotations: list[dict[str, Any]]
) -> Any:
    """Returns a COCO object over copies, because matching writes into the records."""
    coco = coco_class()
    coco.dataset = {
        "images": ground_truth.images,
        "categories": ground_truth.categories,
        "annotations": [dict(annotation) for annotation in annotations],
    }
    coco.createIndex()
    return coco


def _with_areas(
    detections: list[dict[str, Any]], iou_type: IouType
) -> list[dict[str, Any]]:
    """Adds id, area and crowd flag, as the matchers want them."""
    if iou_type == "segm":
        from pycocotools import mask as mask_api

        areas = [float(mask_api.area(d["segmentation"])) for d in detections]
    else:
        areas = [d["bbox"][2] * d["bbox"][3] for d in detections]
    return [
        {**d, "id": number, "area": area, "iscrowd": 0}
        for number, (d, area) in enumerate(zip(detections, areas, strict=True), start=1)
    ]
