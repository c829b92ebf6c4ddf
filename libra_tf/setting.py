"""What a setting may be, said once, where its field is declared.

    num_bins: int = setting(3, low=1, source="Libra R-CNN, section 3.1")

What it means is in the docstring of the class that declares it.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeVar

T = TypeVar("T")
_KEY = "libra_tf.setting"


@dataclasses.dataclass(frozen=True)
class Limits:
    """Which values a setting may have, in which unit, and who says so.

    Attributes:
        low: smallest value.
        above: value that must be exceeded.
        high: largest value.
        below: value that must not be reached.
        finite: no NaN, no infinity; so is every bound.
        choices: all values there are.
        fewest: of a list, whose entries have the limits above; a list may be empty.
        unit: of the value and its limits.
        source: of the default value.
    """

    low: float | None = None
    above: float | None = None
    high: float | None = None
    below: float | None = None
    finite: bool = False
    choices: tuple[object, ...] = ()
    unit: str = ""
    source: str = ""
    fewest: int = 0

    @property
    def is_bounded(self) -> bool:
        """Whether there is a bound."""
        return any(x is not None for x in (self.low, self.above, self.high, self.below))

    @property
    def is_range(self) -> bool:
        """Whether it is a number, which NaN and infinities are not."""
        return self.finite or self.is_bounded

    def allow(self, value: object) -> bool:
        """Whether a setting may have this value.

        Unset (None) is in every range: whether it may be is a matter of its type. A
        list may be what each of its entries may be.
        """
        if isinstance(value, list | tuple):
            return len(value) >= self.fewest and all(map(self.allow, value))
        if self.choices:
            return value in self.choices
        if not self.is_range or value is None:
            return True
        return (
            isinstance(value, int | float)
            and _is_finite(value)
            and (self.low is None or value >= self.low)
            and (self.above is None or value > self.above)
            and (self.high is None or value <= self.high)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """In words: "one of a, b", "> 0", "in [0, 1)" or "finite"; "" for none."""
        if self.fewest:
            entries = dataclasses.replace(self, fewest=0)
            return f"at least {self.fewest}, each {entries}"
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        if not self.is_range:
            return ""
        if not self.is_bounded:
            return "finite"
        if self.high is None and self.below is None:
            return f">= {self.low}" if self.above is None else f"> {self.above}"
        if self.low is None and self.above is None:
            return f"<= {self.high}" if self.below is None else f"< {self.below}"
        left = f"[{self.low}" if self.above is None else f"({self.above}"
        return f"in {left}, " + (
            f"{self.high}]" if self.below is None else f"{self.below})"
        )

    def advice(self) -> str:
        """What to do about a value that is not allowed."""
        if self.fewest:
            return f"give {self}"
        if self.choices:
            return f"choose {', '.join(map(str, self.choices))}"
        return f"it must be {self}"


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can be
        return False


def setting(
    default: T,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
    finite: bool = False,
    choices: tuple[object, ...] = (),
    unit: str = "",
    source: str = "",
    fewest: int = 0,
) -> T:
    """Declares a field of a dataclass with its `Limits`."""
    limits = Limits(low, above, high, below, finite, choices, unit, source, fewest)
    field: T = dataclasses.field(default=default, metadata={_KEY: limits})
    return field


def setting_of(owner: type, name: str) -> Any:
    """Declares a field with default and `Limits` of another class's field."""
    (field,) = (f for f in dataclasses.fields(owner) if f.name == name)
    return dataclasses.field(default=field.default, metadata=field.metadata)


def limits_of(config: type, name: str) -> Limits:
    """Returns the `Limits` that the field of a dataclass was declared with."""
    fields = {field.name: field for field in dataclasses.fields(config)}
    limits = fields[name].metadata.get(_KEY) if name in fields else None
    return limits or Limits()


def check_limits(settings: Any) -> None:
    """Raises `ValueError` for the first field of a dataclass out of its limits."""
    for field in dataclasses.fields(settings):
        limits = limits_of(type(settings), field.name)
        value = getattr(settings, field.name)
        if not limits.allow(value):
            raise ValueError(f"{field.name} must be {limits}, got {value!r}")
