"""Well-formed records that mean something else than they say.

Pure checks of a `Dataset`; each counts by the rules of `rules.RULES`. Those of
boxes want them as the reader gave them, before any is clipped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from libra_tf.data.faults import Fault
from libra_tf.data.findings import Findings
from libra_tf.data.records import Annotation, Bbox, Dataset, ImageRecord

# Fewer objects are alike by chance.
MIN_OBJECTS = 4
# Boxes read as x, y, width, height that are corners: so many cross the border, ...
CROSSING_SHARE = 1 / 3
# ... and so many fit as corners, with a pixel of rounding.
FITTING_SHARE = 0.99
SLACK = 1.0
# Two pictures of so few pixels may well have boxes of one.
MIN_PICTURE_SIDE = 3

_Pair = tuple[ImageRecord, Annotation]


def check_boxes(dataset: Dataset, findings: Findings) -> list[Fault]:
    """Counts boxes that are unlikely to be what they should be.

    Returns:
        What must not be converted: a split whose boxes are fractions.
    """
    fractions = [image for image in dataset.images if _is_normalized(image)]
    labelled = sum(bool(image.annotations) for image in dataset.images)
    if fractions and len(fractions) == labelled:
        return [Fault(_normalized(dataset))]
    for image in fractions:
        findings.add("normalized", image.file_name)
    _check_equal(dataset, findings)
    pairs = list(_pairs(dataset))
    if len(pairs) >= MIN_OBJECTS:
        _check_corners(pairs, findings)
        _check_all(pairs, findings)
    return []


def _bare(name: str) -> str:
    return " ".join(name.split()).casefold()


def check_classes(dataset: Dataset, findings: Findings) -> None:
    """Counts classes that are called alike, have one object or none.

    Crowds are no objects.
    """
    names: dict[str, str] = {}
    for category in dataset.categories:
        first = names.setdefault(_bare(category.name), category.name)
        if first != category.name:
            findings.add("alike_classes", f"{category.name} ({first})")
    if not any(image.annotations for image in dataset.images):
        for image in dataset.images:
            findings.add("no_objects", image.file_name)
    counts = Counter(a.category_id for _, a in _pairs(dataset) if not a.iscrowd)
    for category in dataset.categories:
        number = counts[category.id]
        if number < 2:
            findings.add("one_example" if number else "no_example", category.name)


def _pairs(dataset: Dataset) -> Iterator[_Pair]:
    return ((image, a) for image in dataset.images for a in image.annotations)


def _normalized(dataset: Dataset) -> str:
    return (
        f"{dataset.source}: all boxes lie in 0..1: they are fractions of their "
        "pictures; multiply them by width and height, since boxes are pixels"
    )


def _is_normalized(image: ImageRecord) -> bool:
    """Whether all boxes lie in the first pixel; VOC counts that from 1, so from -1."""
    if min(image.width, image.height) < MIN_PICTURE_SIDE or not image.annotations:
        return False
    return all(
        min(x, y) >= -1 and x + width <= 1 and y + height <= 1
        for x, y, width, height in (a.bbox for a in image.annotations)
    )


def _check_equal(dataset: Dataset, findings: Findings) -> None:
    for image in dataset.images:
        seen: set[tuple[int, Bbox]] = set()
        for annotation in image.annotations:
            key = annotation.category_id, annotation.bbox
            if key in seen and not annotation.iscrowd:
                findings.add("equal_boxes", annotation.name)
            seen.add(key)


def _check_corners(pairs: list[_Pair], findings: Findings) -> None:
    crossing = [
        annotation for image, annotation in pairs if _crosses(image, annotation)
    ]
    fitting = sum(_fits_as_corners(image, annotation) for image, annotation in pairs)
    many = len(crossing) > CROSSING_SHARE * len(pairs)
    if many and fitting >= FITTING_SHARE * len(pairs):
        for annotation in crossing:
            findings.add("corners", annotation.name)


def _crosses(image: ImageRecord, annotation: Annotation) -> bool:
    x, y, width, height = annotation.bbox
    return x + width > image.width + SLACK or y + height > image.height + SLACK


def _fits_as_corners(image: ImageRecord, annotation: Annotation) -> bool:
    left, top, right, bottom = annotation.bbox
    inside = right <= image.width + SLACK and bottom <= image.height + SLACK
    return 0 <= left < right and 0 <= top < bottom and inside


def _check_all(pairs: list[_Pair], findings: Findings) -> None:
    """Counts every object where all of a split are alike."""
    alike = {
        "whole_pictures": all(_is_whole(*pair) for pair in pairs),
        "one_size": len({a.bbox[2:] for _, a in pairs}) == 1,
        "one_corner": bool(set.intersection(*(_corners(*pair) for pair in pairs))),
    }
    for rule, found in alike.items():
        for _, annotation in pairs if found else ():
            findings.add(rule, annotation.name)


def _is_whole(image: ImageRecord, annotation: Annotation) -> bool:
    whole = (0.0, 0.0, image.width, image.height)
    return all(
        abs(side - other) <= SLACK
        for side, other in zip(annotation.bbox, whole, strict=True)
    )


def _corners(image: ImageRecord, annotation: Annotation) -> set[tuple[str, str]]:
    """Returns the corner whose quarter of the picture holds the box, if one does."""
    x, y, width, height = annotation.bbox
    across = _half(x, x + width, image.width / 2)
    down = _half(y, y + height, image.height / 2)
    return {(across, down)} if across and down else set()


def _half(low: float, high: float, middle: float) -> str:
    if high <= middle:
        return "low"
    return "high" if low >= middle else ""
