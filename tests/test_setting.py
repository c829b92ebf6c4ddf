"""setting: what a field may be, checked and told in words."""

import dataclasses
import math

import pytest

from libra_tf.setting import Limits, check_limits, limits_of, setting, setting_of


@dataclasses.dataclass
class Bins:
    count: int = setting(3, low=1, unit="bins", source="a paper")
    kind: str = setting("even", choices=("even", "odd"))
    free: float = 0.0


@dataclasses.dataclass
class MoreBins(Bins):
    kind: str = setting_of(Bins, "kind")
    other: int = setting_of(Bins, "count")


@pytest.mark.parametrize(
    ("limits", "good", "bad", "words"),
    [
        (Limits(low=1), [1, 2.5, 10**9], [0, 0.99, -1], ">= 1"),
        (Limits(above=0), [1e-9, 7], [0, -1e-9], "> 0"),
        (Limits(high=4), [-9, 4], [4.01], "<= 4"),
        (Limits(below=4), [-9, 3.9], [4], "< 4"),
        (Limits(finite=True), [-1e30, 0, 2.5], [], "finite"),
        (Limits(low=0, high=1), [0, 0.5, 1], [-0.1, 1.1], "in [0, 1]"),
        (Limits(low=0, below=1), [0, 0.9], [-0.1, 1], "in [0, 1)"),
        (Limits(above=0, high=1), [0.1, 1], [0, 1.1], "in (0, 1]"),
        (Limits(above=0, below=1), [0.1], [0, 1], "in (0, 1)"),
    ],
)
def test_ranges(limits, good, bad, words):
    assert str(limits) == words
    assert limits.advice() == f"it must be {words}"
    assert all(map(limits.allow, good))
    assert not any(map(limits.allow, [*bad, math.nan, math.inf, -math.inf, "1"]))
    assert limits.allow(None)  # whether it may be unset is a matter of its type


def test_choices():
    limits = Limits(choices=(None, "a", "b"))
    assert str(limits) == "one of None, a, b"
    assert limits.advice() == "choose None, a, b"
    assert [limits.allow(x) for x in ("a", None, "c", 0)] == [True, True, False, False]


def test_no_limits():
    assert str(Limits(unit="pixels")) == ""
    assert all(map(Limits().allow, (math.nan, "x", None, [1])))


def test_limits_are_found_where_they_are_declared():
    assert limits_of(Bins, "count") == Limits(low=1, unit="bins", source="a paper")
    assert limits_of(Bins, "free") == limits_of(Bins, "nothing") == Limits()
    assert limits_of(MoreBins, "count") == limits_of(MoreBins, "other")
    assert limits_of(MoreBins, "kind").choices == ("even", "odd")
    assert (Bins().count, MoreBins().kind, MoreBins().other) == (3, "even", 3)


def test_all_fields_are_checked():
    check_limits(MoreBins())
    with pytest.raises(ValueError, match=r"^other must be >= 1, got 0$"):
        check_limits(MoreBins(other=0))
    with pytest.raises(ValueError, match=r"^kind must be one of even, odd, got 'no'$"):
        check_limits(MoreBins(kind="no"))
