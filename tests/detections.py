"""Comparison of detections that does not depend on the order of near ties."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from tolerances import NETWORK, SCORES, assert_close, tolerance

# Two boxes of one detection overlap more.
SAME_OBJECT = 0.5
# Boxes are as much larger at each side, so that one without area overlaps itself.
MARGIN = 0.5


class Detections(NamedTuple):
    """Of one image: boxes [N, 4], scores and classes [N], without padding."""

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    @classmethod
    def of_image(cls, outputs, i=0, classes_from=0):
        """Those of image `i` in a detector's outputs, classes less `classes_from`."""
        count = int(outputs["num_detections"][i])
        names = ("boxes", "scores", "classes")
        boxes, scores, classes = (
            np.asarray(outputs[f"detection_{name}"])[i, :count] for name in names
        )
        return cls(boxes, scores, classes - classes_from)


def overlaps(box, boxes):
    """IoU of a box with each of `boxes`, all with `MARGIN`."""
    margin = MARGIN * np.array([-1, -1, 1, 1])
    box, boxes = box + margin, boxes + margin
    inner = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    inner = np.prod(np.maximum(inner, 0), -1)
    areas = [np.prod(x[..., 2:] - x[..., :2], -1) for x in (box, boxes)]
    return inner / (areas[0] + areas[1] - inner)


def match(actual: Detections, expected: Detections) -> list[tuple[int, int]]:
    """Pairs (i of actual, j of expected) of one class, by falling overlap.

    Of equal overlaps, the pair with the nearer scores is first.
    """
    pairs = []
    for j, (box, label) in enumerate(
        zip(expected.boxes, expected.classes, strict=True)
    ):
        iou = np.where(actual.classes == label, overlaps(box, actual.boxes), 0)
        for i in np.flatnonzero(iou > SAME_OBJECT):
            apart = abs(actual.scores[i] - expected.scores[j])
            pairs.append((-round(float(iou[i]), 3), apart, i, j))
    found, seen = [], ({-1}, {-1})
    for _, _, i, j in sorted(pairs):
        if i not in seen[0] and j not in seen[1]:
            found.append((i, j))
            seen[0].add(i)
            seen[1].add(j)
    return found


def assert_detections_close(
    actual, expected, *, side, threshold=0.0, most=None, of=SCORES
):
    """Same detections in any order; those at the end of the list may differ.

    Args:
        actual: Detections, falling by score.
        expected: Detections, xyxy or yxyx as `actual`.
        side: Longest side of the image, in pixels of the boxes.
        threshold: Score below which a detector tells nothing.
        most: Largest number of detections in an image: the last one that it keeps is
            the threshold of a full list.
        of: Depth of what computed the scores, see `tolerances`.
    """
    __tracebackhide__ = True
    allowed = tolerance(of)
    for found in (actual, expected):
        falls = np.diff(found.scores) <= 0
        assert falls.all(), "detections are not sorted by score"
        if len(found.scores) == most:
            threshold = max(threshold, float(found.scores[-1]))
    pairs = match(actual, expected)
    for found, which in ((actual, 0), (expected, 1)):
        matched = {pair[which] for pair in pairs}
        for k in set(range(len(found.scores))) - matched:
            near = abs(found.scores[k] - threshold) <= 2 * allowed
            name = ("actual", "expected")[which]
            assert near, f"{name} detection {k} has no partner: {_tell(found, k)}"
    i, j = np.array(pairs, int).reshape(-1, 2).T
    assert_close(actual.scores[i], expected.scores[j], of=of, scale=1.0)
    assert_close(actual.boxes[i], expected.boxes[j], of=NETWORK, scale=side)


def _tell(found: Detections, k: int) -> str:
    box = np.round(found.boxes[k], 2).tolist()
    return f"class {found.classes[k]}, score {found.scores[k]:.5f}, box {box}"
