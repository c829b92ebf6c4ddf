"""All figures of a report, of one detector or of two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from libra_tf.analysis.breakdown import (
    ClassRow,
    GroupRow,
    by_class,
    by_frequency,
    by_size,
)
from libra_tf.analysis.engine import (
    LIMITS,
    Calibration,
    Evaluation,
    Interval,
    LabelCandidate,
    Outcomes,
    Tide,
)
from libra_tf.analysis.image_outcomes import ImageOutcome, outcomes_by_image
from libra_tf.analysis.score_curves import ScoreCurve, score_curve
from libra_tf.errors import UserError
from libra_tf.evaluation import coco_checks
from libra_tf.evaluation.backends import Curves, IouType
from libra_tf.evaluation.coco import (
    DetectionMetrics,
    detection_metrics,
    load_detections,
    load_ground_truth,
)
from libra_tf.evaluation.coco_checks import GroundTruth, Records

SAMPLES, SEED = 500, 0  # of the bootstrap
# Of a detection that is trusted more than an annotation, at least.
CANDIDATE_SCORE = 0.5


@dataclass(frozen=True)
class Comparison:
    """A second detector on the same images.

    Attributes:
        name: of the second.
        samples: of the bootstrap.
        figures: COCO's names to the difference.
        by_category: category id to AP of the first and of the second.
    """

    name: str
    samples: int
    figures: dict[str, Interval]
    by_category: dict[int, tuple[float, float]]


@dataclass(frozen=True)
class Analysis:
    """What is known about a detector's errors.

    Attributes:
        name: of the detections.
        truth: the annotations.
        detections: COCO results.
        metrics: COCO's figures.
        curves: COCO's precision and recall.
        classes: by id.
        sizes: small, medium, large.
        frequencies: rare, common, frequent.
        tide: errors by kind.
        threshold: the score from which detections count in what follows.
        overall: precision, recall and F1 over all classes together.
        by_category: category id to the same of a class with objects.
        confusion: [K + 1, K + 1], see `engine.Evaluation.confusion`.
        calibration: of the scores.
        outcomes: of each detection and annotation.
        images: all of them.
        candidates: of wrong annotations.
        comparison: with a second detector, or None.
    """

    name: str
    truth: GroundTruth
    detections: Records
    metrics: DetectionMetrics
    curves: Curves
    classes: list[ClassRow]
    sizes: list[GroupRow]
    frequencies: list[GroupRow]
    tide: Tide
    threshold: float
    overall: ScoreCurve
    by_category: dict[int, ScoreCurve]
    confusion: np.ndarray
    calibration: Calibration
    outcomes: Outcomes
    images: list[ImageOutcome]
    candidates: list[LabelCandidate]
    comparison: Comparison | None


def analyze(
    annotations: str,
    detections: str,
    *,
    compare: str | None = None,
    iou_type: IouType = "bbox",
    threshold: float | None = None,
    samples: int = SAMPLES,
) -> Analysis:
    """Reads, checks, matches and counts.

    Args:
        annotations: COCO annotation file.
        detections: COCO result file on its images.
        compare: result file of a second detector on the same images.
        iou_type: overlap of boxes or of masks.
        threshold: score from which detections count in the confusion matrix and in
            pictures; None: that of the largest F1 over all classes.
        samples: of the bootstrap.

    Raises:
        UserError: a file that cannot be used, naming it and the first records; there
            is no object or no detection.
    """
    truth = load_ground_truth(annotations)
    if all(a["iscrowd"] for a in truth.annotations):
        raise UserError(f"{annotations}: annotates no object; there is no AP without")
    _check_masks(truth.annotations, annotations, truth, iou_type, (list, dict))
    found = _load(detections, truth, iou_type)
    other = _load(compare, truth, iou_type) if compare else None
    evaluation = Evaluation(truth, found, iou_type)
    outcomes = evaluation.outcomes()
    overall, by_category = _score_curves(truth, found, outcomes)
    if threshold is None:
        threshold = overall.best_threshold or 0.0
    curves = evaluation.curves()
    classes = by_class(curves, truth)
    return Analysis(
        name=detections,
        truth=truth,
        detections=found,
        metrics=detection_metrics(
            curves,
            truth,
            LIMITS,
            num_images=len(truth.images),
            num_detections=len(found),
            iou_type=iou_type,
        ),
        curves=curves,
        classes=classes,
        sizes=by_size(curves, classes),
        frequencies=by_frequency(classes),
        tide=evaluation.tide(),
        threshold=threshold,
        overall=overall,
        by_category=by_category,
        confusion=evaluation.confusion(threshold),
        calibration=evaluation.calibration(),
        outcomes=outcomes,
        images=outcomes_by_image(truth, found, outcomes, threshold),
        candidates=evaluation.label_candidates(max(threshold, CANDIDATE_SCORE)),
        comparison=_compare(evaluation, truth, other, compare or "", iou_type, samples),
    )


def _load(source: str, truth: GroundTruth, iou_type: IouType) -> Records:
    name, found = load_detections(source, truth)
    if not found:
        raise UserError(f"{name}: has no detection; there is nothing to analyze")
    for k, detection in enumerate(found, start=1):
        if not 0 <= detection["score"] <= 1:
            raise UserError(
                f"{name}: result {k} (image {detection['image_id']}): its score is "
                f"{detection['score']}; thresholds and calibration need scores from 0 "
                "to 1"
            )
    _check_masks(found, name, truth, iou_type, (dict,))
    return found


def _check_masks(
    records: Records, name: str, truth: GroundTruth, iou_type: IouType, kinds: tuple
) -> None:
    if iou_type == "segm":
        coco_checks.check_have_masks(records, name, kinds)
        coco_checks.check_masks(records, name, truth)


def _score_curves(
    truth: GroundTruth, found: Records, outcomes: Outcomes
) -> tuple[ScoreCurve, dict[int, ScoreCurve]]:
    scores = np.array([d["score"] for d in found], float)
    of_detection = np.array([d["category_id"] for d in found], int)
    of_object = np.array([a["category_id"] for a in truth.annotations], int)
    counted, required = outcomes.counted, outcomes.required
    by_category = {}
    for category_id in sorted({int(i) for i in of_object[required]}):
        its = counted & (of_detection == category_id)
        number = int((required & (of_object == category_id)).sum())
        by_category[category_id] = score_curve(
            scores[its], outcomes.correct[its], number
        )
    overall = score_curve(
        scores[counted], outcomes.correct[counted], int(required.sum())
    )
    return overall, by_category


def _compare(
    evaluation: Evaluation,
    truth: GroundTruth,
    other: Records | None,
    name: str,
    iou_type: IouType,
    samples: int,
) -> Comparison | None:
    if other is None:
        return None
    second = Evaluation(truth, other, iou_type)
    figures, by_category = evaluation.compared_with(second, samples, SEED)
    return Comparison(name, samples, figures, by_category)
