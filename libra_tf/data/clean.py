"""Boxes that cannot be trained on: clip, drop, count, tell.

Model Garden drops a box that crosses the border by a fraction of a pixel without a
word, and keeps one that is a millionth of a pixel wide, which makes the loss jump.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from libra_tf.data.findings import Findings
from libra_tf.data.masks import box_polygon
from libra_tf.data.records import Annotation, Dataset, ImageRecord

# Rounding of two decimals, as in COCO's own files; clipped, but not worth telling.
ROUNDING = 0.01
# Thinner boxes are dropped; what remains has a harmless logarithm.
MIN_SIDE = 0.1


def clean_dataset(
    dataset: Dataset, masks: bool, strict: bool = False
) -> tuple[Dataset, Findings]:
    """Clips boxes to their image, drops those without area, settles the masks.

    Args:
        dataset: as a reader returned it.
        masks: True gives every object a segmentation (its box where it has none);
            False takes all segmentations away.
        strict: raise instead of changing anything.

    Returns:
        The data set as it is to be written, and what was changed.

    Raises:
        UserError: `strict` and something had to change.
    """
    findings = dataset.findings.copy()
    images = tuple(
        replace(image, annotations=tuple(_clean_image(image, masks, findings)))
        for image in dataset.images
    )
    if strict:
        findings.refuse(dataset.source)
    return replace(dataset, images=images), findings


def _clean_image(
    image: ImageRecord, masks: bool, findings: Findings
) -> Iterator[Annotation]:
    for annotation in image.annotations:
        clipped = _clip(annotation, image, findings)
        if clipped is None:
            findings.add("dropped", annotation.id)
        elif not masks:
            yield replace(clipped, segmentation=None)
        elif clipped.segmentation:
            yield clipped
        else:
            findings.add("box_masks", annotation.id)
            yield replace(clipped, segmentation=box_polygon(clipped.bbox))


def _clip(
    annotation: Annotation, image: ImageRecord, findings: Findings
) -> Annotation | None:
    """Returns the annotation inside the image, or None where nothing is left."""
    x, y, width, height = annotation.bbox
    left, right = max(x, 0.0), min(x + width, float(image.width))
    top, bottom = max(y, 0.0), min(y + height, float(image.height))
    if right - left < MIN_SIDE or bottom - top < MIN_SIDE:
        return None
    overhang = max(left - x, x + width - right, top - y, y + height - bottom)
    if overhang <= 0:
        return annotation
    if overhang > ROUNDING:
        findings.add("clipped", annotation.id)
    bbox = (left, top, right - left, bottom - top)
    return replace(annotation, bbox=bbox, area=min(annotation.area, bbox[2] * bbox[3]))
