"""diagnostics.figures: sums to what people read, by hand."""

import numpy as np
import pytest

from libra_tf.diagnostics.figures import figures

ANCHORS = {
    "positives": np.array([6.0, 2.0]),
    "negatives": np.array([994.0, 98.0]),
    "classes": np.array([0.0, 6.0, 2.0]),
    "objects": {"objects": 4.0, "positives": 8.0},
    "gradient": {"length": 10.0, "square": 2.0},
}
SUMS = {
    "images": 2.0,
    "feature": {
        "before": {
            "norms": np.array([100.0, 30.0]),
            "positions": np.array([10.0, 5.0]),
            "similarities": np.array([2.5]),
        }
    },
    "losses": {"class": 3.0, "box": 2.0, "class_gradient": 16.0, "box_gradient": 4.0},
    "box": {
        "inliers": 6.0, "outliers": 2.0, "inlier_gradient": 1.0, "outlier_gradient": 3.0
    },
    "anchors": ANCHORS,
}  # fmt: skip


def test_scalars_by_hand():
    found = figures(SUMS, [3, 4], ["background", "cell"]).scalars
    assert found == pytest.approx(
        {
            "anchors/positives_level_3": 3.0,
            "anchors/positives_level_4": 1.0,
            "anchors/negatives_level_3": 497.0,
            "anchors/negatives_level_4": 49.0,
            "anchors/foreground_share": 8 / 1100,
            "anchors/foreground_share_level_3": 0.006,
            "anchors/foreground_share_level_4": 0.02,
            "anchors/positives_class_cell": 3.0,
            "anchors/positives_class_2": 1.0,  # it has no name
            "anchors/positives_per_object": 2.0,
            "anchors/effective_examples": 25.0,
            "anchors/effective_share": 50 / 1100,
            "feature/norm_before_level_3": 10.0,
            "feature/norm_before_level_4": 6.0,
            "feature/cosine_before_3-4": 0.25,
            "objective/inlier_gradient_share": 0.25,
            "objective/class_to_box_loss": 1.5,
            "objective/class_to_box_gradient": 2.0,
        }
    )


def test_negatives_are_shares_and_only_there_with_a_sampler():
    counts = {
        "available": np.array([90.0, 5, 5, 0, 0, 0]),
        "chosen": np.array([4.0, 2, 2, 0, 0, 0]),
    }
    found = figures({**SUMS, "negatives": counts}, [3, 4])
    assert found.scalars["negatives/above_0.05_available"] == pytest.approx(0.1)
    assert found.scalars["negatives/above_0.05_chosen"] == pytest.approx(0.5)
    histogram = found.histograms["negatives/iou_chosen"]
    assert histogram.heights == pytest.approx([0.5, 0.25, 0.25, 0, 0, 0])
    assert len(histogram.edges) == 7


def test_what_is_not_defined_is_left_out():
    none = {**ANCHORS, "objects": {"objects": 0.0, "positives": 0.0}}
    none["gradient"] = {"length": 0.0, "square": 0.0}
    losses = {**SUMS["losses"], "box": 0.0, "box_gradient": 0.0}
    sums = {**SUMS, "anchors": none, "losses": losses}
    del sums["box"]
    found = figures(sums, [3, 4]).scalars
    assert not {n for n in found if n.startswith("objective") or "effective" in n}
    assert "anchors/positives_per_object" not in found


def test_many_classes_are_a_histogram_only():
    many = {**ANCHORS, "classes": np.arange(31.0)}
    found = figures({**SUMS, "anchors": many}, [3, 4])
    assert not {name for name in found.scalars if "positives_class" in name}
    assert found.histograms["anchors/positives_by_class"].heights[-1] == 15


def test_density_of_ghm():
    found = figures({**SUMS, "ghm": np.array([99.0, 0.0, 0.0, 1.0])}, [3, 4])
    assert found.scalars["ghm/easiest_share"] == pytest.approx(0.99)
    assert found.scalars["ghm/hardest_share"] == pytest.approx(0.01)
    histogram = found.histograms["ghm/log10_entries_by_gradient"]
    assert histogram.heights == pytest.approx([2.0, 0, 0, np.log10(2)])
    assert histogram.edges == [0, 0.25, 0.5, 0.75, 1]
