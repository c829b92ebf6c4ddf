"""COCO's small, medium and large objects."""

from __future__ import annotations

import numpy as np

# Areas in square pixels.
AREA_RANGES = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}


def in_range(areas: np.ndarray, size: str) -> np.ndarray:
    """Returns which objects [N] are of a size, one of `AREA_RANGES`.

    Both ends belong to a range, as COCO's evaluation has it: an object of 32x32 is
    small and medium.

    Args:
        areas: [N], in square pixels.
        size: "small", "medium", "large" or "all".
    """
    low, high = AREA_RANGES[size]
    return (areas >= low) & (areas <= high)
