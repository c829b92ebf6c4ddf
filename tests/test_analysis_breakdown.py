"""AP by class, size and frequency, thresholds of the score, and images by F1."""

import numpy as np
import pytest

from libra_tf.analysis.breakdown import by_class, by_frequency, by_size, frequency
from libra_tf.analysis.engine import Evaluation, Outcomes
from libra_tf.analysis.image_outcomes import best, outcomes_by_image, worst
from libra_tf.analysis.score_curves import POINTS, score_curve
from libra_tf.evaluation.coco_checks import check_ground_truth

SMALL, LARGE = [0, 0, 20, 20], [50, 50, 100, 100]


@pytest.fixture
def case():
    """Class 1: two small, one found; class 2: one large, found; class 3: none."""
    annotations = [
        {"image_id": 1, "category_id": 1, "bbox": SMALL},
        {"image_id": 2, "category_id": 1, "bbox": SMALL},
        {"image_id": 2, "category_id": 2, "bbox": LARGE},
        {"image_id": 2, "category_id": 2, "bbox": SMALL, "iscrowd": 1},
    ]
    names = {1: "a", 2: "b", 3: "c"}
    truth = check_ground_truth(
        {
            "images": [{"id": i, "file_name": f"{i}.png"} for i in (1, 2, 3)],
            "categories": [{"id": i, "name": name} for i, name in names.items()],
            "annotations": annotations,
        },
        "truth",
    )
    detections = [
        {"image_id": 1, "category_id": 1, "bbox": SMALL, "score": 0.9},
        {"image_id": 2, "category_id": 2, "bbox": LARGE, "score": 0.8},
        {"image_id": 3, "category_id": 1, "bbox": LARGE, "score": 0.1},
    ]
    return truth, detections, Evaluation(truth, detections)


def test_classes(case):
    truth, _, evaluation = case
    a, b, c = by_class(evaluation.curves(), truth)
    assert (a.name, a.images, a.objects, a.frequency) == ("a", 2, 2, "rare")
    assert a.ap == pytest.approx(51 / 101)  # recalls 0 to .5
    assert a.ap == a.ap50 == a.ap75
    assert a.ar == 0.5
    assert a.ap_by_size["small"] == pytest.approx(51 / 101)
    assert a.ap_by_size["large"] is None
    assert a.objects_by_size == {"small": 2, "medium": 0, "large": 0}
    assert (b.images, b.objects, b.ap_by_size["large"]) == (1, 1, pytest.approx(1))
    assert (c.objects, c.ap) == (0, None)


def test_groups(case):
    truth, _, evaluation = case
    rows = by_class(evaluation.curves(), truth)
    small, medium, large = by_size(evaluation.curves(), rows)
    assert (small.classes, small.objects) == (1, 2)
    assert (medium.objects, medium.ap) == (0, None)
    assert (large.objects, large.ap, large.ar) == (1, pytest.approx(1), 1)
    rare, common, _ = by_frequency(rows)
    assert (rare.classes, rare.objects) == (2, 3)  # the class without objects is not
    assert rare.ap == pytest.approx((51 / 101 + 1) / 2)
    assert (common.classes, common.ap) == (0, None)


@pytest.mark.parametrize(
    ("images", "group"),
    [(0, "rare"), (10, "rare"), (11, "common"), (100, "common"), (101, "frequent")],
)
def test_frequency_is_by_images_as_in_lvis(images, group):
    assert frequency(images) == group


def test_the_best_threshold():
    """Five objects; in descending order correct, wrong, correct, wrong."""
    scores = np.array([0.3, 0.9, 0.5, 0.7])
    correct = np.array([False, True, True, False])
    curve = score_curve(scores, correct, 5)
    assert curve.threshold.tolist() == [0.9, 0.7, 0.5, 0.3]
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3, 1 / 2])
    np.testing.assert_allclose(curve.recall, [0.2, 0.2, 0.4, 0.4])
    np.testing.assert_allclose(curve.f1, [2 / 6, 2 / 7, 4 / 8, 4 / 9])
    assert curve.best_threshold == 0.5
    assert curve.best_f1 == 0.5
    assert (curve.best_precision, curve.best_recall) == (pytest.approx(2 / 3), 0.4)


def test_detections_of_one_score_count_together():
    curve = score_curve(np.array([0.5, 0.5, 0.5]), np.array([True, False, False]), 1)
    assert curve.threshold.tolist() == [0.5]
    assert curve.precision.tolist() == [pytest.approx(1 / 3)]


def test_a_class_without_detections_has_no_threshold():
    curve = score_curve(np.zeros(0), np.zeros(0, bool), 3)
    assert (curve.best_threshold, curve.best_f1) == (None, 0)


def test_a_long_curve_is_thinned_and_its_best_is_of_all():
    scores = np.linspace(1, 0.001, 1000)
    correct = np.arange(1000) <= 300
    curve = score_curve(scores, correct, 301)
    assert len(curve.f1) == POINTS
    assert curve.best_f1 == 1
    assert curve.best_threshold == scores[300]
    assert (curve.threshold[0], curve.threshold[-1]) == (scores[0], scores[-1])


def test_images(case):
    truth, detections, evaluation = case
    first, second, third = outcomes_by_image(
        truth, detections, evaluation.outcomes(), 0.5
    )
    assert (first.correct, first.wrong, first.missed, first.f1) == (1, 0, 0, 1)
    assert (second.correct, second.wrong, second.missed) == (1, 0, 1)
    assert second.f1 == pytest.approx(2 / 3)
    assert third.f1 == 1  # nothing there, and nothing found
    found = outcomes_by_image(truth, detections, evaluation.outcomes(), 0.05)
    assert (found[2].wrong, found[2].f1) == (1, 0)
    assert [i.image_id for i in worst(found, 2)] == [3, 2]
    assert [i.image_id for i in best(found, 5)] == [1, 2]


def test_a_detection_below_the_threshold_finds_nothing(case):
    truth, detections, _ = case
    outcomes = Outcomes(
        np.array([True, True, False]),
        np.array([True, True, True]),
        np.array([1, 3, 0]),
        np.array([True, True, True, False]),
    )
    first, *_ = outcomes_by_image(truth, detections, outcomes, 0.95)
    assert (first.correct, first.missed, first.f1) == (0, 1, 0)
