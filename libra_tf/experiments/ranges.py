"""Checks of single settings."""

from __future__ import annotations

import math
from typing import Any

from libra_tf.errors import UserError


def one_of(field: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raises `UserError` unless `value` is among `choices`."""
    if value not in choices:
        raise UserError(f"{field} is {value!r}; choose {', '.join(map(str, choices))}")


def positive(field: str, value: Any, *, zero: bool = False) -> None:
    """Raises `UserError` unless `value` is a finite number > 0 (or >= 0)."""
    good = (
        isinstance(value, int | float)
        and math.isfinite(value)
        and (value > 0 or (zero and value == 0))
    )
    if not good:
        raise UserError(f"{field} is {value!r}; it must be {'>=' if zero else '>'} 0")
