"""Means over seeds, and differences between rows that share their seeds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Summary:
    """Of some numbers.

    Attributes:
        n: how many.
        mean: their mean; None of none.
        deviation: sample standard deviation (n - 1); None of fewer than two.
    """

    n: int
    mean: float | None
    deviation: float | None


@dataclasses.dataclass(frozen=True)
class Difference:
    """Of two rows over the seeds that both have.

    Attributes:
        n: number of pairs.
        mean: mean of the paired differences; None without a pair.
        error: standard error of that mean; None of fewer than two pairs.
        p: two-sided p of the paired t-test; None of fewer than two pairs, or if all
            differences are the same.
    """

    n: int
    mean: float | None
    error: float | None
    p: float | None


def summarize(values: Sequence[float]) -> Summary:
    """Returns the mean and the sample standard deviation."""
    n = len(values)
    if n == 0:
        return Summary(0, None, None)
    mean = math.fsum(values) / n
    if n == 1:
        return Summary(1, mean, None)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return Summary(n, mean, math.sqrt(squares / (n - 1)))


def paired_difference(
    values: Mapping[int, float], baseline: Mapping[int, float]
) -> Difference:
    """Compares two rows, seed by seed; a seed that one lacks is left out.

    The paired t-test: t = mean / error with n - 1 degrees of freedom, where error is
    the standard deviation of the differences divided by sqrt(n).

    Args:
        values: seed to figure of the row.
        baseline: seed to figure of the row that it is compared with.
    """
    seeds = sorted(values.keys() & baseline.keys())
    found = summarize([values[seed] - baseline[seed] for seed in seeds])
    if found.mean is None or found.deviation is None:
        return Difference(found.n, found.mean, None, None)
    error = found.deviation / math.sqrt(found.n)
    return Difference(found.n, found.mean, error, _p_value(found.mean, error, found.n))


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Corrects p-values for their number, so that none is small by mere choice.

    With the m values in ascending order, the k-th is multiplied by m - k + 1, and none
    is less than the one before it. Rejecting below a level then makes at least one
    false rejection with at most that probability, however the tests depend on each
    other. None is no test, and does not count.

    Reference: Holm, "A Simple Sequentially Rejective Multiple Test Procedure",
    Scandinavian Journal of Statistics 6 (1979).
    """
    tests = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    least = 0.0
    for k, (p, place) in enumerate(tests):
        least = max(least, min(1.0, p * (len(tests) - k)))
        corrected[place] = least
    return corrected


def _p_value(mean: float, error: float, n: int) -> float | None:
    from scipy import special  # comes with Model Garden

    if error == 0:  # no spread to compare the mean with
        return 1.0 if mean == 0 else None
    return float(2 * special.stdtr(n - 1, -abs(mean) / error))
