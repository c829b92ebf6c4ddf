"""Matching and its statistics by hotcoco, behind values of our own.

The only module that imports hotcoco, so that it can be replaced. Its figures equal
those of pycocotools, which stays the judge: `tests/test_analysis_engine.py`.

Shape shorthand in this module: N detections, G annotations, K categories (ascending by
id), T = 10 IoU thresholds, R = 101 recalls, A = 4 areas, M = 3 limits of detections.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from libra_tf.errors import UserError
from libra_tf.evaluation.backends import Curves, IouType
from libra_tf.evaluation.coco_checks import GroundTruth, Records

LIMITS = [1, 10, 100]  # COCO's numbers of detections per image and class
# IoU of a detection that counts as correct, where one threshold is meant.
CORRECT_IOU = 0.5
# TIDE, section 2.2: below it a detection has found background.
BACKGROUND_IOU = 0.1
# Where hotcoco's name of a figure is not Model Garden's, which is ours.
_NAMES = {f"AR{limit}": f"ARmax{limit}" for limit in LIMITS}
TIDE_KINDS = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")
CONFIDENCE = 0.95  # of bootstrap intervals

# "image_id" and "category_id" to the rank of each id.
_Ranks = Mapping[str, Mapping[int, int]]


@dataclass(frozen=True)
class Tide:
    """Errors by kind (TIDE, Bolya et al., ECCV 2020).

    Attributes:
        ap50: AP at IoU 0.5, which the others are differences to.
        gain: kind to the AP50 that would be won if no error of the kind were made.
        count: kind to number of errors.
    """

    ap50: float
    gain: dict[str, float]
    count: dict[str, int]


@dataclass(frozen=True)
class ReliabilityBin:
    """Detections with scores from `low` to `high`: how sure, and how often correct."""

    low: float
    high: float
    confidence: float
    precision: float
    count: int


@dataclass(frozen=True)
class Calibration:
    """Whether a score is the share of correct detections.

    Attributes:
        error: expected calibration error: mean of |confidence - precision| over the
            bins, weighed by their count, in [0, 1].
        largest_error: of a bin.
        bins: by ascending score.
        by_category: category id to its expected calibration error.
    """

    error: float
    largest_error: float
    bins: list[ReliabilityBin]
    by_category: dict[int, float]


@dataclass(frozen=True)
class Outcomes:
    """What became of each detection and annotation, at IoU 0.5 within a class.

    Attributes:
        correct: [N], bool, whether the detection was matched.
        counted: [N], bool; not: it lies on a crowd, or is beyond the limit per image.
        annotation: [N], int, id of the matched annotation; 0 for none.
        required: [G], bool; not: a crowd, which need not be found.
    """

    correct: np.ndarray
    counted: np.ndarray
    annotation: np.ndarray
    required: np.ndarray


@dataclass(frozen=True)
class LabelCandidate:
    """A confident detection that contradicts the annotations.

    Attributes:
        kind: "missing" (IoU below 0.1 with all annotations) or "class" (IoU of 0.5 or
            more with an annotation of another class).
        detection: index of the detection.
        annotation: id of the contradicting annotation; 0 for none.
        iou: of the two; 0 for "missing".
    """

    kind: str
    detection: int
    annotation: int
    iou: float


@dataclass(frozen=True)
class Interval:
    """A difference between two detectors over the same images.

    Attributes:
        first: figure of the one.
        second: figure of the other.
        difference: second - first.
        low: lower end of the bootstrap interval.
        high: upper end of it.
        share_better: share of the bootstrap samples in which the second is better.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    share_better: float


class Evaluation:
    """Detections matched to ground truth.

    Args:
        truth: annotations that have been checked.
        detections: COCO results that have been checked, on images of `truth`.
        iou_type: overlap of boxes or of masks.

    Raises:
        UserError: hotcoco is not installed.
    """

    def __init__(
        self, truth: GroundTruth, detections: Records, iou_type: IouType = "bbox"
    ):
        hotcoco = _library()
        self._num_detections = len(detections)
        self._annotation_ids = [a["id"] for a in truth.annotations]
        self._category_ids = sorted(c["id"] for c in truth.categories)
        # hotcoco takes no id below 0: it sees ranks, which keep COCO's order of ties.
        ranks = {
            "image_id": _ranks(image["id"] for image in truth.images),
            "category_id": _ranks(self._category_ids),
        }
        # Names are ranks too, so that what comes by name belongs to one category.
        categories = ranks["category_id"].values()
        content = {
            "images": [_image(i, ranks["image_id"]) for i in truth.images],
            "categories": [{"id": rank, "name": str(rank)} for rank in categories],
            "annotations": [_record(a, ranks, iou_type) for a in truth.annotations],
        }
        known = hotcoco.COCO(content)
        found = known.load_res([_result(d, ranks, iou_type) for d in detections])
        self._evaluated = hotcoco.COCOeval(known, found, iou_type)
        self._evaluated.evaluate()
        self._evaluated.accumulate()

    def curves(self) -> Curves:
        """Returns precision [T, R, K, A, M] and recall [T, K, A, M]."""
        values = self._evaluated.eval
        return Curves(np.asarray(values["precision"]), np.asarray(values["recall"]))

    def tide(self) -> Tide:
        """Returns the errors by kind."""
        found = self._evaluated.tide_errors(pos_thr=CORRECT_IOU, bg_thr=BACKGROUND_IOU)
        return Tide(
            found["ap_base"],
            {kind: found["delta_ap"][kind] for kind in TIDE_KINDS},
            {kind: found["counts"][kind] for kind in TIDE_KINDS},
        )

    def confusion(self, min_score: float) -> np.ndarray:
        """Returns [K + 1, K + 1] counts: row is the annotated class, column the found.

        The last row is background that was taken for an object, the last column
        objects that were not found.

        Args:
            min_score: detections below do not count.
        """
        found = self._evaluated.confusion_matrix(
            iou_thr=CORRECT_IOU, min_score=min_score
        )
        return np.asarray(found["matrix"]).astype(int)

    def calibration(self) -> Calibration:
        """Returns how far scores are from shares of correct detections, in ten bins."""
        found = self._evaluated.calibration(n_bins=10, iou_threshold=CORRECT_IOU)
        bins = [
            ReliabilityBin(
                b["bin_lower"],
                b["bin_upper"],
                b["avg_confidence"],
                b["avg_accuracy"],
                b["count"],
            )
            for b in found["bins"]
        ]
        errors = found["per_category"].items()
        by_category = {self._category_ids[int(r) - 1]: error for r, error in errors}
        return Calibration(found["ece"], found["mce"], bins, by_category)

    def outcomes(self) -> Outcomes:
        """Returns what became of each detection and annotation."""
        found = self._evaluated.image_diagnostics(iou_thr=CORRECT_IOU)
        ids = range(1, self._num_detections + 1)
        status = [found["dt_status"].get(i) for i in ids]
        return Outcomes(
            np.array([s == "tp" for s in status], bool),
            np.array([s is not None for s in status], bool),
            np.array([found["dt_match"].get(i, 0) for i in ids], int),
            np.array([i in found["gt_status"] for i in self._annotation_ids], bool),
        )

    def label_candidates(self, min_score: float) -> list[LabelCandidate]:
        """Returns detections that contradict the annotations, the most confident first.

        Args:
            min_score: of a detection that is trusted.
        """
        found = self._evaluated.image_diagnostics(
            iou_thr=CORRECT_IOU, score_thr=min_score
        )["label_errors"]
        kinds = {"missing_annotation": "missing", "wrong_label": "class"}
        ordered = sorted(found, key=lambda one: (-one["dt_score"], one["dt_id"]))
        return [
            LabelCandidate(
                kinds[one["type"]], one["dt_id"] - 1, one["gt_id"] or 0, one["iou"]
            )
            for one in ordered
        ]

    def compared_with(
        self, other: Evaluation, samples: int, seed: int
    ) -> tuple[dict[str, Interval], dict[int, tuple[float, float]]]:
        """Returns how much better another detector is on the same images.

        Args:
            other: of the same ground truth.
            samples: number of bootstrap samples; each draws the images anew, the same
                for both.
            seed: of the draws.

        Returns:
            Figure (AP, AP50, ... ARmax100, ... ARl) to its difference, and category id
            to AP of the one and of the other. What has no ground truth is left out.
        """
        found = _library().compare(
            self._evaluated,
            other._evaluated,
            n_bootstrap=samples,
            seed=seed,
            confidence=CONFIDENCE,
        )
        figures = {}
        for name in found["metric_keys"]:
            first, second = found["metrics_a"][name], found["metrics_b"][name]
            if min(first, second) < 0:  # no ground truth of this kind
                continue
            spread = found["ci"][name]
            figures[_NAMES.get(name, name)] = Interval(
                first,
                second,
                second - first,
                spread["lower"],
                spread["upper"],
                spread["prob_positive"],
            )
        classes = {
            self._category_ids[c["cat_id"] - 1]: (c["ap_a"], c["ap_b"])
            for c in found["per_category"]
        }
        return figures, {i: both for i, both in classes.items() if min(both) >= 0}


def check_installed() -> None:
    """Refuses to begin without hotcoco.

    Raises:
        UserError: it is not installed; the line tells how to install it.
    """
    _library()


def _library() -> Any:
    try:
        import hotcoco
    except ImportError as error:
        raise UserError(
            f'libra analyze needs hotcoco ({error}): pip install "libra_tf[analysis]"'
        ) from error
    return hotcoco


def _ranks(ids: Iterable[int]) -> dict[int, int]:
    """Returns id to its place from 1 in ascending order."""
    return {i: rank for rank, i in enumerate(sorted(ids), start=1)}


def _image(image: dict[str, Any], ranks: Mapping[int, int]) -> dict[str, Any]:
    # Only masks need sizes, and those of masks have been checked.
    sizes = {side: image.get(side) for side in ("width", "height")}
    kept = {side: v if type(v) is int and v > 0 else 1 for side, v in sizes.items()}
    return {"id": ranks[image["id"]], "file_name": "", **kept}


def _record(
    annotation: dict[str, Any], ranks: _Ranks, iou_type: IouType
) -> dict[str, Any]:
    names = ["id", "bbox", "area", "iscrowd"]
    names += ["segmentation"] if iou_type == "segm" else []
    return {**_ranked(annotation, ranks), **{name: annotation[name] for name in names}}


def _result(result: dict[str, Any], ranks: _Ranks, iou_type: IouType) -> dict[str, Any]:
    # With a box too, the box's area would say whether a mask is small.
    shape = "segmentation" if iou_type == "segm" else "bbox"
    values = {name: result[name] for name in ("score", shape)}
    return {**_ranked(result, ranks), **values}


def _ranked(record: dict[str, Any], ranks: _Ranks) -> dict[str, int]:
    return {name: rank[record[name]] for name, rank in ranks.items()}
