"""The comparison of detections allows near ties and fails for real faults."""

import numpy as np
import pytest
from detections import Detections, assert_detections_close, match
from tolerances import GROWTH, NETWORK, SCORES, assert_close, tolerance

SIDE, THRESHOLD = 100.0, 0.05
EXPECTED = Detections(
    np.array([[0, 0, 40, 40], [50, 50, 90, 90], [10, 60, 30, 90], [0, 0, 38, 41.0]]),
    np.array([0.9, 0.60001, 0.6, 0.3]),
    np.array([1, 2, 1, 2]),
)


def changed(order=(0, 1, 2, 3), **parts):
    rows = list(order)
    found = Detections(*(x[rows].copy() for x in EXPECTED))
    for name, (row, value) in parts.items():
        getattr(found, name)[row] = value
    return found


def check(actual, expected=EXPECTED, most=None):
    assert_detections_close(actual, expected, side=SIDE, threshold=THRESHOLD, most=most)


def test_near_ties_may_change_places():
    check(changed())
    found = changed((0, 2, 1, 3), scores=(1, 0.60001))
    found.scores[2] = 0.6
    assert sorted(match(found, EXPECTED)) == [(0, 0), (1, 2), (2, 1), (3, 3)]
    check(found)


def test_boxes_without_area_have_partners():
    thin = changed(boxes=(2, [10, 60, 30, 60]))
    check(thin, thin)
    with pytest.raises(AssertionError, match="has no partner"):
        check(changed(boxes=(2, [10, 64, 30, 64])), thin)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (changed((0, 1, 2)), "expected detection 3 has no partner"),
        (changed((1, 2, 3)), "expected detection 0 has no partner"),
        (changed((0, 0, 1, 2, 3)), "actual detection 1 has no partner"),
        (changed(boxes=(1, [50, 50.1, 90, 90])), "Not equal to tolerance"),
        (changed(boxes=(1, [10, 10, 20, 20])), "has no partner"),
        (changed(boxes=(0, [0, 40, 40, 0])), "has no partner"),
        (changed(classes=(1, 1)), "has no partner"),
        (changed(scores=(0, 0.902)), "Not equal to tolerance"),
        (changed((1, 0, 2, 3)), "not sorted by score"),
        (changed(scores=(0, np.nan)), "not sorted by score"),
        (changed(boxes=(2, np.nan)), "has no partner"),
    ],
)
def test_real_faults_fail(fault, message):
    with pytest.raises(AssertionError, match=message):
        check(fault)


def test_swapped_scores_fail():
    """The boxes of two classes are right and their scores are each other's."""
    found = changed((3, 1, 2, 0))
    found.scores[:] = EXPECTED.scores
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check(found)


@pytest.mark.parametrize("score", [THRESHOLD, EXPECTED.scores[-1]])
def test_what_is_at_the_threshold_or_the_cut_may_come_or_go(score):
    def with_last(value):
        row = ([60, 5, 95, 45], value, 3)
        return Detections(
            *(np.append(x, [y], 0) for x, y in zip(EXPECTED, row, strict=True))
        )

    most = None if score == THRESHOLD else len(EXPECTED.scores)
    near, far = score - tolerance(SCORES) / 2, score - 4 * tolerance(SCORES)
    check(EXPECTED, with_last(near), most)
    check(with_last(near), EXPECTED, most)
    for pair in ((EXPECTED, with_last(far)), (with_last(far), EXPECTED)):
        with pytest.raises(AssertionError, match="detection 4 has no partner"):
            check(*pair, most)


def test_no_detections():
    check(changed(()), changed(()))
    with pytest.raises(AssertionError, match="has no partner"):
        check(changed(()))


def test_the_errors_of_a_sum_are_of_its_terms():
    step = tolerance(NETWORK)
    assert_close([1000.0, step * 900], [1000.0, 0], of=NETWORK)
    with pytest.raises(AssertionError):
        assert_close([1.0, 2 * step], [1.0, 0], of=NETWORK)
    with pytest.raises(AssertionError):
        assert_close([1.0, np.nan], [1.0, 0], of=NETWORK)


def test_what_is_elementwise_has_no_other_scale():
    with pytest.raises(AssertionError):
        assert_close([1.0, 1e-9], [1.0, 0], of="elementwise")
    assert_close([1.0, 1e-9], [1.0, 0], of="elementwise", scale=0.1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_tolerances_grow_with_the_depth(dtype):
    found = [tolerance(of, dtype) for of in GROWTH[dtype]]
    assert found == sorted(found)
    assert found[-1] < 1
