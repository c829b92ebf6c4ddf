"""ablation.statistics: textbook values, and what one or no seed gives."""

import math

import pytest

from libra_tf.ablation.statistics import holm, paired_difference, summarize

# Student (1908), "The probable error of a mean": extra hours of sleep of ten patients
# after each of two drugs. R's t.test(paired = TRUE) gives t = -4.0621, df = 9,
# p-value = 0.002833, mean of the differences -1.58.
FIRST = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def by_seed(values):
    return dict(enumerate(values, start=1))


def test_student_1908():
    found = paired_difference(by_seed(FIRST), by_seed(SECOND))
    assert found.n == 10
    assert found.mean == pytest.approx(-1.58)
    assert found.mean / found.error == pytest.approx(-4.0621, abs=5e-5)
    assert found.p == pytest.approx(0.002833, abs=5e-7)


def test_the_other_way_round_only_the_sign_changes():
    one = paired_difference(by_seed(FIRST), by_seed(SECOND))
    other = paired_difference(by_seed(SECOND), by_seed(FIRST))
    assert other.mean == pytest.approx(-one.mean)
    assert (other.error, other.p) == pytest.approx((one.error, one.p))


def test_two_pairs_by_hand():
    """With one degree of freedom t is Cauchy: p = 1 - 2 atan(t) / pi."""
    found = paired_difference({1: 3.0, 2: 6.0}, {1: 1.0, 2: 2.0})
    assert (found.mean, found.error) == pytest.approx((3.0, 1.0))
    assert found.p == pytest.approx(1 - 2 * math.atan(3.0) / math.pi)


def test_seeds_without_a_partner_are_left_out():
    found = paired_difference({1: 2.0, 2: 5.0, 7: 9.0}, {2: 1.0, 1: 1.0, 8: 0.0})
    assert found == paired_difference({1: 2.0, 2: 5.0}, {1: 1.0, 2: 1.0})
    assert found.n == 2


def test_one_pair_has_no_error_and_no_pair_nothing():
    one = paired_difference({1: 2.0}, {1: 1.5})
    assert (one.n, one.mean, one.error, one.p) == (1, 0.5, None, None)
    none = paired_difference({1: 2.0}, {2: 1.5})
    assert (none.n, none.mean, none.error, none.p) == (0, None, None, None)


def test_differences_without_spread():
    assert paired_difference({1: 1.0, 2: 2.0}, {1: 1.0, 2: 2.0}).p == 1
    assert paired_difference({1: 2.0, 2: 3.0}, {1: 1.0, 2: 2.0}).p is None


def test_holm_1979():
    """R: p.adjust(c(.01, .04, .03, .005), "holm") is .03 .06 .06 .02."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, None, 0.04]) == pytest.approx([0.02, None, 0.04])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_summary():
    found = summarize([1.0, 2.0, 4.0])
    assert (found.n, found.mean) == (3, pytest.approx(7 / 3))
    assert found.deviation == pytest.approx(math.sqrt(7 / 3))
    assert summarize([1.5]).deviation is None
    assert summarize([]).mean is None
