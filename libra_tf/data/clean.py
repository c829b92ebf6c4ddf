"""Boxes and masks that cannot be trained on: clip, drop, mend, count, tell.

Model Garden drops a box that crosses the border by a fraction of a pixel without a
word, and keeps one that is a millionth of a pixel wide, which makes the loss jump.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from libra_tf.data.faults import Fault
from libra_tf.data.findings import Findings
from libra_tf.data.masks import box_polygon, mask_area, polygon_area, polygon_length
from libra_tf.data.records import Annotation, Dataset, ImageRecord
from libra_tf.errors import UserError

# Rounding of two decimals, as in COCO's own files; clipped, but not worth telling.
ROUNDING = 0.01
# Thinner boxes are dropped; what remains has a harmless logarithm.
MIN_SIDE = 0.1
# An area below this share of its box is doubted, and mended where the mask has more
# than MASK_RATIO times as much or as little.
MIN_AREA_SHARE = 0.01
MASK_RATIO = 2.0


def clean_dataset(dataset: Dataset, masks: bool) -> Dataset:
    """Clips boxes to their image, drops those without area, settles masks and areas.

    Args:
        dataset: as a reader returned it, with all sizes.
        masks: True gives every object a segmentation (its box where it has none, or
            one without a pixel); False takes all segmentations away.

    Returns:
        The data set as it is to be written, with what was changed as findings and the
        pictures whose masks cannot be drawn as faults, on top of those it had.
    """
    findings, faults = dataset.findings.copy(), list(dataset.faults)
    images = []
    for image in dataset.images:
        try:
            annotations = tuple(_clean_image(image, masks, findings))
            images.append(replace(image, annotations=annotations))
        except UserError as error:
            faults.append(Fault(f"{dataset.source}: {error}", image.id))
    return replace(
        dataset, images=tuple(images), findings=findings, faults=tuple(faults)
    )


def _clean_image(
    image: ImageRecord, masks: bool, findings: Findings
) -> Iterator[Annotation]:
    for annotation in image.annotations:
        clipped = _clip(annotation, image, findings)
        if clipped is None:
            findings.add("dropped", annotation.name)
            continue
        clipped = _settle_mask(clipped, image, masks, findings)
        yield clipped if masks else replace(clipped, segmentation=None)


def _clip(
    annotation: Annotation, image: ImageRecord, findings: Findings
) -> Annotation | None:
    """Returns the annotation inside the image, or None where nothing is left."""
    x, y, width, height = annotation.bbox
    left, right = max(x, 0.0), min(x + width, float(image.width))
    top, bottom = max(y, 0.0), min(y + height, float(image.height))
    if right - left < MIN_SIDE or bottom - top < MIN_SIDE:
        return None
    annotation = _mend_area(annotation, image, findings)
    overhang = max(left - x, x + width - right, top - y, y + height - bottom)
    if overhang <= 0:
        return annotation
    if overhang > ROUNDING:
        findings.add("clipped", annotation.name)
    bbox = (left, top, right - left, bottom - top)
    return replace(annotation, bbox=bbox, area=min(annotation.area, bbox[2] * bbox[3]))


def _mend_area(
    annotation: Annotation, image: ImageRecord, findings: Findings
) -> Annotation:
    _, _, width, height = annotation.bbox
    box, area = width * height, annotation.area
    # Some count the pixels of both borders.
    if box * MIN_AREA_SHARE <= area <= (width + 1) * (height + 1):
        return annotation
    right = box
    if annotation.segmentation:
        right = _mask_area(annotation, image) or box
        if right / MASK_RATIO <= area <= right * MASK_RATIO:
            return annotation
    findings.add("areas", annotation.name)
    return replace(annotation, area=float(right))


def _settle_mask(
    annotation: Annotation, image: ImageRecord, masks: bool, findings: Findings
) -> Annotation:
    """Gives an object without a pixel of mask its box."""
    if not masks or (annotation.segmentation and _has_pixels(annotation, image)):
        return annotation
    findings.add("box_masks", annotation.name)
    return replace(annotation, segmentation=box_polygon(annotation.bbox))


def _has_pixels(annotation: Annotation, image: ImageRecord) -> bool:
    return _is_fat(annotation, image) or _mask_area(annotation, image) > 0


def _is_fat(annotation: Annotation, image: ImageRecord) -> bool:
    """Whether a polygon has an inscribed circle of a pixel, so need not be drawn.

    Its radius is at least area / perimeter; the polygon must lie in the image.
    """
    if not isinstance(annotation.segmentation, list):
        return False
    polygon = annotation.segmentation[0]
    if min(polygon) < 0:
        return False
    if max(polygon[::2]) > image.width or max(polygon[1::2]) > image.height:
        return False
    return polygon_area(polygon) > 2 * polygon_length(polygon)


def _mask_area(annotation: Annotation, image: ImageRecord) -> int:
    where = f"{image}: annotation {annotation.name}"
    assert annotation.segmentation is not None
    return mask_area(annotation.segmentation, image.height, image.width, where)
