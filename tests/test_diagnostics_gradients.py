"""Objective level: gradients of inliers and outliers."""

import functools
import math

import numpy as np
import pytest
import tensorflow as tf
from tolerances import ELEMENTWISE, REDUCTION, tolerance

from libra_tf.diagnostics.gradients import gradient_sums, summarize_gradients
from libra_tf.losses import balanced_l1, l1, smooth_l1

ERRORS = [[0.5, -2.0, 0.0, 1.0], [0.1, -0.01, 3.0, -0.5]]
BALANCED = functools.partial(balanced_l1, alpha=0.5, gamma=1.5, beta=1.0)
# alpha ln(b |x| + 1) with b = e^3 - 1.
AT_HALF, AT_TENTH, AT_HUNDREDTH = 1.177720086, 0.533827972, 0.087335923


def sums_of(errors, elementwise, threshold=1.0, valid=None):
    errors = tf.constant(errors)
    valid = tf.ones(errors.shape[:-1], tf.bool) if valid is None else valid
    sums = gradient_sums(errors, valid, elementwise, threshold=threshold)
    return {name: float(value) for name, value in sums.items()}


def test_smooth_l1_by_hand():
    assert sums_of(ERRORS, smooth_l1) == pytest.approx(
        {
            "inliers": 5,  # an error of 1 is an outlier
            "outliers": 3,
            "inlier_gradient": 0.5 + 0.0 + 0.1 + 0.01 + 0.5,
            "outlier_gradient": 3.0,
        }
    )


def test_balanced_l1_by_hand():
    sums = sums_of(ERRORS, BALANCED)
    inlier = 2 * AT_HALF + AT_TENTH + AT_HUNDREDTH
    assert sums["inlier_gradient"] == pytest.approx(inlier, rel=tolerance(ELEMENTWISE))
    assert sums["outlier_gradient"] == pytest.approx(
        3 * 1.5, rel=tolerance(ELEMENTWISE)
    )


def test_l1_shares_the_gradient_by_number():
    summary = summarize_gradients(sums_of([[0.5, -0.5, 0.1, 7.0]], l1))
    assert summary["inlier_share"] == 0.75
    assert summary["inlier_to_outlier"] == 1.0


@pytest.mark.parametrize("threshold", [0.11, 1.0])
def test_many_errors_agree_with_the_closed_form(threshold):
    rng = np.random.default_rng(0)
    errors = rng.normal(scale=threshold, size=[50, 4]).astype(np.float32)
    size = np.abs(errors)
    inlier = size < threshold
    b = math.expm1(3.0)
    sums = sums_of(
        errors,
        functools.partial(balanced_l1, beta=threshold, form="consistent"),
        threshold,
    )
    expected = 0.5 * np.log1p(b / threshold * size[inlier])
    assert sums["inliers"] == inlier.sum()
    assert sums["inlier_gradient"] == pytest.approx(
        expected.sum(), rel=tolerance(REDUCTION)
    )
    assert sums["outlier_gradient"] == pytest.approx(
        1.5 * (~inlier).sum(), rel=tolerance(REDUCTION)
    )


def test_only_positives_count_whatever_the_others_hold():
    errors = [ERRORS[0], [math.nan, math.inf, -math.inf, 0.3]]
    valid = tf.constant([True, False])
    assert sums_of(errors, BALANCED, valid=valid) == sums_of(ERRORS[:1], BALANCED)


def test_batches_add_up():
    parts = [sums_of([row], BALANCED) for row in ERRORS]
    added = {name: parts[0][name] + parts[1][name] for name in parts[0]}
    assert added == pytest.approx(sums_of(ERRORS, BALANCED))


def test_summary_by_hand():
    summary = summarize_gradients(
        {
            "inliers": 8.0,
            "outliers": 2.0,
            "inlier_gradient": 2.4,
            "outlier_gradient": 2.0,
        }
    )
    assert summary == pytest.approx(
        {
            "inliers": 8,
            "outliers": 2,
            "inlier_mean": 0.3,
            "outlier_mean": 1.0,
            "inlier_to_outlier": 0.3,
            "inlier_share": 2.4 / 4.4,
        }
    )


def test_what_is_not_defined_is_none():
    no_outliers = summarize_gradients(sums_of([[0.1, 0.2, 0.3, 0.4]], smooth_l1))
    assert no_outliers["outlier_mean"] is None
    assert no_outliers["inlier_to_outlier"] is None
    assert no_outliers["inlier_share"] == 1.0
    no_inliers = summarize_gradients(sums_of([[2.0, 2.0, 2.0, 2.0]], smooth_l1))
    assert no_inliers["inlier_to_outlier"] is None
    assert no_inliers["inlier_share"] == 0.0
    nothing = summarize_gradients(
        sums_of(ERRORS, smooth_l1, valid=tf.constant([False, False]))
    )
    assert (nothing["inliers"], nothing["inlier_share"]) == (0, None)


def test_perfect_boxes_have_no_gradient_to_share():
    summary = summarize_gradients(sums_of([[0.0] * 4], smooth_l1))
    assert (summary["inliers"], summary["inlier_share"]) == (4, None)


@pytest.mark.parametrize("threshold", [0.0, -1.0, math.nan])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold must be > 0"):
        sums_of(ERRORS, smooth_l1, threshold)


@pytest.mark.parametrize("jit", [False, True])
def test_graph_and_xla_give_the_same(jit):
    @functools.partial(tf.function, jit_compile=jit)
    def compiled(errors, valid):
        return gradient_sums(errors, valid, BALANCED, threshold=1.0)

    found = compiled(tf.constant(ERRORS), tf.constant([True, True]))
    found = {name: float(value) for name, value in found.items()}
    assert found == pytest.approx(sums_of(ERRORS, BALANCED), rel=tolerance(ELEMENTWISE))


def test_low_precision_is_computed_in_float32():
    errors = tf.constant(ERRORS, tf.bfloat16)
    sums = gradient_sums(errors, tf.constant([True, True]), BALANCED, threshold=1.0)
    assert all(value.dtype == tf.float32 for value in sums.values())
    exact = sums_of(ERRORS, BALANCED)["inlier_gradient"]
    assert float(sums["inlier_gradient"]) == pytest.approx(exact, rel=1e-2)
