"""Values of strangers' records: numbers that may be texts, truths in any spelling."""

from __future__ import annotations

import math
import re
from typing import Any

_WHOLE = re.compile(r"[+-]?\d{1,4000}")
_TRUTHS = {"": False, "0": False, "1": True, "false": False, "true": True}


def as_number(value: Any) -> float | None:
    """Returns a finite number, also of a text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def as_key(value: Any) -> int | str | None:
    """Returns what an id means: 7, "7" and 7.0 are one id, "a" another, None none."""
    if isinstance(value, str):
        text = value.strip()
        return int(text) if _WHOLE.fullmatch(text) else text or None
    if type(value) is float and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def as_truth(value: Any) -> bool | None:
    """Returns a truth for 0, 1, true, false and their texts; None for others."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return _TRUTHS.get(text.strip().lower())
