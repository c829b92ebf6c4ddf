"""Precision, recall and F1 against the score from which detections count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Points of a curve in a report; the best threshold is searched among all.
POINTS = 200


@dataclass(frozen=True)
class ScoreCurve:
    """What a threshold on the score would give, at IoU 0.5.

    Attributes:
        threshold: [P], descending scores.
        precision: [P], share of detections at or above the score that are correct.
        recall: [P], share of the objects that they find.
        f1: [P], 2 precision recall / (precision + recall), 0 where both are 0.
        best_threshold: the score of the largest F1, the highest of several; None
            without a detection.
        best_f1: that F1; 0 without a detection.
        best_precision: there.
        best_recall: there.
    """

    threshold: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    best_threshold: float | None
    best_f1: float
    best_precision: float
    best_recall: float


def score_curve(
    scores: np.ndarray, correct: np.ndarray, num_objects: int
) -> ScoreCurve:
    """Returns the curve of some detections.

    Args:
        scores: [N], in any order.
        correct: [N], bool.
        num_objects: that there are to be found; of none, the curve is empty.
    """
    if not len(scores) or not num_objects:
        none = np.zeros(0)
        return ScoreCurve(none, none, none, none, None, 0.0, 0.0, 0.0)
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(correct[order])
    # Detections of one score come or go together.
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True))
    hits, threshold = hits[last], ordered[last]
    precision, recall = hits / (last + 1), hits / num_objects
    f1 = 2 * hits / (last + 1 + num_objects)
    best = int(np.argmax(f1))
    shown = np.unique(np.linspace(0, len(f1) - 1, POINTS).astype(int))
    return ScoreCurve(
        threshold[shown],
        precision[shown],
        recall[shown],
        f1[shown],
        float(threshold[best]),
        float(f1[best]),
        float(precision[best]),
        float(recall[best]),
    )
