"""The measures as text and as columns."""

import copy

import pytest

from libra_tf.diagnostics.report import columns, format_report

EDGES = [0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5]


def rule(above):
    return {"above": above, "histogram": [1 - above, above, 0.0, 0.0, 0.0, 0.0]}


def loss(ratio, share):
    return {
        "inliers": 70,
        "outliers": 30,
        "inlier_mean": ratio,
        "outlier_mean": 1.0,
        "inlier_to_outlier": ratio,
        "inlier_share": share,
    }


def levels(similarity):
    return {
        "norms": {"3": 1.0, "4": 2.0},
        "similarity": {"3-4": similarity},
        "norm_ratio": {"3-4": 2.0},
        "mean_similarity": similarity,
        "norm_spread": 2.0,
    }


VALUES = {
    "checkpoint": "runs/a/ckpt-8",
    "data": "cells/train-*.tfrecord",
    "images": 20,
    "seed": 0,
    "training": {"roi/effective_share": 0.25, "feature/norm_before_level_3": 1234.5},
    "sample": {
        "per_image": {
            "candidates": 100.5, "positives": 10.0, "negatives": 90.5, "chosen": 48.0
        },
        "images_with_choice": 0.95,
        "iou_edges": EDGES,
        "rules": {
            "all": rule(0.25),
            "random": rule(0.3),
            "iou_balanced": rule(0.7),
            "iou_balanced_published": rule(0.5),
            "hardest": rule(0.6),
        },
        "own": "iou_balanced",
    },
    "objective": {
        "threshold": 1.0,
        "losses": {"smooth_l1": loss(0.3, 0.4), "balanced_l1": loss(0.5, 0.55)},
        "own": "balanced_l1",
    },
    "feature": {"before": levels(0.1), "after": levels(0.8)},
    "notes": [],
}  # fmt: skip


def changed(**parts):
    return {**copy.deepcopy(VALUES), **parts}


def test_columns():
    assert columns(VALUES) == {
        "chosen_negatives_iou_above_0.05": 0.7,
        "all_negatives_iou_above_0.05": 0.25,
        "random_negatives_iou_above_0.05": 0.3,
        "iou_balanced_negatives_iou_above_0.05": 0.7,
        "iou_balanced_published_negatives_iou_above_0.05": 0.5,
        "hardest_negatives_iou_above_0.05": 0.6,
        "inlier_gradient_share": 0.55,
        "inlier_to_outlier_gradient": 0.5,
        "inlier_gradient_share_smooth_l1": 0.4,
        "inlier_gradient_share_balanced_l1": 0.55,
        "inlier_to_outlier_gradient_smooth_l1": 0.3,
        "inlier_to_outlier_gradient_balanced_l1": 0.5,
        "level_similarity_before": 0.1,
        "level_norm_spread_before": 2.0,
        "level_similarity_after": 0.8,
        "level_norm_spread_after": 2.0,
    }


def test_what_is_missing_has_no_column():
    values = changed(sample=None, feature={"before": levels(0.1), "after": None})
    values["objective"]["own"] = None
    values["objective"]["losses"]["smooth_l1"]["inlier_share"] = None
    assert set(columns(values)) == {
        "inlier_gradient_share_balanced_l1",
        "inlier_to_outlier_gradient_smooth_l1",
        "inlier_to_outlier_gradient_balanced_l1",
        "level_similarity_before",
        "level_norm_spread_before",
    }
    values = changed()
    values["sample"]["own"] = None
    assert "chosen_negatives_iou_above_0.05" not in columns(values)
    values["sample"]["rules"]["random"] = {"above": None, "histogram": None}
    assert "random_negatives_iou_above_0.05" not in columns(values)


def line_of(text, start):
    (line,) = (x for x in text.splitlines() if x.strip().startswith(start))
    return line.split()


def test_report():
    text = format_report(VALUES)
    head = "runs/a/ckpt-8 on 20 images of cells/train-*.tfrecord"
    assert text.splitlines()[0] == head
    assert line_of(text, "IoU-balanced *")[2:4] == ["70.0%", "30.0%"]
    assert line_of(text, "random")[1:3] == ["30.0%", "70.0%"]
    assert "100.5 candidates, 10.0 foreground, 90.5 background, 48.0" in text
    assert "95% of the images" in text
    assert line_of(text, "balanced L1 *")[3:] == ["0.500", "1.000", "50.0%", "55.0%"]
    assert "70 inliers with an error below 1, 30 outliers" in text
    assert line_of(text, "cosine before")[2:] == ["0.100", "0.100"]
    assert line_of(text, "cosine after")[2:] == ["0.800", "0.800"]
    assert line_of(text, "roi/effective_share") == ["roi/effective_share", "0.25"]
    assert line_of(text, "feature/norm_before")[1] in ("1234", "1235")
    assert "note:" not in text


@pytest.mark.parametrize("part", ["sample", "after", "before"])
def test_report_leaves_out_what_is_missing(part):
    if part == "sample":
        values = changed(sample=None, notes=["no proposals"])
        assert "sample level:" not in format_report(values)
        assert format_report(values).endswith("note: no proposals")
    else:
        values = changed()
        values["feature"]["after"] = None
        if part == "before":
            values["feature"]["before"] = None
        text = format_report(values)
        assert "cosine after" not in text
        assert ("feature level:" in text) == (part == "after")


def test_undefined_numbers_are_said_to_be():
    values = changed()
    values["sample"]["rules"]["random"] = {"above": None, "histogram": None}
    values["objective"]["losses"]["smooth_l1"]["inlier_to_outlier"] = None
    text = format_report(values)
    assert line_of(text, "random")[1:] == ["n/a"] * 7
    assert line_of(text, "smooth L1")[4] == "n/a"


def test_columns_of_the_tables_line_up():
    table = format_report(VALUES).split("\n\n")[1].splitlines()[1:7]
    assert len({len(line) for line in table}) == 1
