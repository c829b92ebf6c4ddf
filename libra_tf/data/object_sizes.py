"""COCO's small, medium and large objects."""

from __future__ import annotations

from typing import TypeVar

# Areas in square pixels.
AREA_RANGES = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}

Area = TypeVar("Area")  # a number, or an array of them


def in_range(area: Area, size: str) -> Area:
    """Whether objects are of a size, one of `AREA_RANGES`.

    Both ends belong to a range, as COCO's evaluation has it: an object of 32x32 is
    small and medium.
    """
    low, high = AREA_RANGES[size]
    return (area >= low) & (area <= high)
