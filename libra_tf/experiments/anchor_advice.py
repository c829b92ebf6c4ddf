"""Which anchors would reach the objects that those of an experiment miss.

Shape shorthand in this module: M objects, K shapes of anchors.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from libra_tf.experiments.detector_config import MaskRCNNParts, RetinaNetParts

# Smaller and larger anchors that are tried: up to 16 times, in half octaves.
_FACTORS = tuple(2.0 ** (k / 2) for k in range(-8, 9))
_SCALES = (1, 2, 3)
_LONG_RATIOS = ((), (0.25, 4.0), (0.125, 0.25, 4.0, 8.0))
# Objects that the choice is made on; what it leaves is counted on all.
_MAX_TRIED = 1000


class Anchors(NamedTuple):
    """Settings of `task.model.anchor`; `anchor_size` is in strides of the levels."""

    anchor_size: float
    num_scales: int
    aspect_ratios: tuple[float, ...]

    def sides(self, levels: Iterable[int]) -> np.ndarray:
        """Height and width [K, 2] of the anchors of all levels, in pixels."""
        return np.array(
            [
                (base / np.sqrt(ratio), base * np.sqrt(ratio))
                for level in levels
                for octave in range(self.num_scales)
                for base in [
                    self.anchor_size * 2.0 ** (level + octave / self.num_scales)
                ]
                for ratio in self.aspect_ratios
            ]
        )


def anchors_of(model: MaskRCNNParts | RetinaNetParts) -> Anchors:
    """Returns the anchors of a detector's settings."""
    anchor = model.anchor
    ratios = tuple(map(float, anchor.aspect_ratios))
    return Anchors(float(anchor.anchor_size), anchor.num_scales, ratios)


def levels_of(model: MaskRCNNParts | RetinaNetParts) -> range:
    """Returns the levels of the pyramid."""
    return range(model.min_level, model.max_level + 1)


def best_anchor_iou(sides: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Highest IoU of each object with an anchor that lies as well as it can, [M].

    Args:
        sides: [M, 2], height and width of objects in pixels of the input.
        shapes: [K, 2], of anchors.
    """
    best = np.zeros(len(sides))
    areas = sides.prod(axis=1)
    for shape in shapes:
        shared = np.minimum(sides, shape).prod(axis=1)
        best = np.maximum(best, shared / (areas + shape.prod() - shared))
    return best


def anchor_advice(
    model: MaskRCNNParts | RetinaNetParts, sides: np.ndarray, threshold: float
) -> str:
    """Returns what to set so that fewer objects are missed, and how many then are.

    Args:
        model: settings of the detector.
        sides: [M, 2], height and width of all objects in pixels of the input.
        threshold: IoU from which on an anchor is positive.
    """
    levels, now = levels_of(model), anchors_of(model)
    tried = sides[:: max(len(sides) // _MAX_TRIED, 1)]

    def missed(anchors: Anchors, objects: np.ndarray) -> int:
        found = best_anchor_iou(objects, anchors.sides(levels))
        return int((found < threshold).sum())

    def cost(anchors: Anchors) -> tuple[int, int, float]:
        shapes = anchors.num_scales * len(anchors.aspect_ratios)
        change = abs(np.log2(anchors.anchor_size / now.anchor_size))
        return missed(anchors, tried), shapes, float(change)

    best = min(_candidates(now), key=cost)
    left = missed(best, sides)
    if left >= missed(now, sides):
        return "no size, ratio or scale of anchors helps: raise task.model.input_size"
    changes = " and ".join(_changes(now, best))
    return f"set {changes}, which leaves {left:,} of all {len(sides):,} objects so"


def _candidates(now: Anchors) -> Iterator[Anchors]:
    ratios = [
        tuple(sorted({*now.aspect_ratios, *more})) if more else now.aspect_ratios
        for more in _LONG_RATIOS
    ]
    scales = sorted({now.num_scales, *(n for n in _SCALES if n > now.num_scales)})
    for factor, number, each in itertools.product(_FACTORS, scales, ratios):
        yield Anchors(float(f"{now.anchor_size * factor:.3g}"), number, each)


def _changes(now: Anchors, best: Anchors) -> Iterator[str]:
    for name, old, new in zip(Anchors._fields, now, best, strict=True):
        if old != new:
            value: Any = list(new) if isinstance(new, tuple) else new
            yield f"task.model.anchor.{name}={value}"
