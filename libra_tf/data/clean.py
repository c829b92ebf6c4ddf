"""Boxes that cannot be trained on: clip, drop, count, tell.

Model Garden drops a box that crosses the border by a fraction of a pixel without a
word, and keeps one that is a millionth of a pixel wide, which makes the loss jump.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from libra_tf.data.masks import box_polygon
from libra_tf.data.records import Annotation, Dataset, ImageRecord
from libra_tf.errors import UserError

# Rounding of two decimals, as in COCO's own files; clipped, but not worth telling.
ROUNDING = 0.01
# Thinner boxes are dropped; what remains has a harmless logarithm.
MIN_SIDE = 0.1
NUM_NAMED = 10


@dataclass
class Finding:
    """How often something happened, and the first annotation ids."""

    count: int = 0
    first_ids: list[int] = field(default_factory=list)

    def add(self, annotation: Annotation) -> None:
        """Counts one more."""
        self.count += 1
        if len(self.first_ids) < NUM_NAMED:
            self.first_ids.append(annotation.id)


@dataclass
class Findings:
    """What cleaning changed in one split."""

    clipped: Finding = field(default_factory=Finding)
    dropped: Finding = field(default_factory=Finding)
    box_masks: Finding = field(default_factory=Finding)

    TEXTS = {  # noqa: RUF012
        "clipped": "boxes crossed the border and were clipped",
        "dropped": "boxes had no area inside the image and were dropped",
        "box_masks": "objects had no segmentation and got their box as mask",
    }

    def lines(self) -> Iterator[str]:
        """Yields one line for people per kind of finding."""
        for name, text in self.TEXTS.items():
            finding = getattr(self, name)
            if finding.count:
                ids = ", ".join(map(str, finding.first_ids))
                more = ", ..." if finding.count > len(finding.first_ids) else ""
                yield f"{finding.count} {text} (annotations {ids}{more})"


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
    findings = Findings()
    images = tuple(
        replace(image, annotations=tuple(_clean_image(image, masks, findings)))
        for image in dataset.images
    )
    if strict:
        for line in findings.lines():
            raise UserError(
                f"{dataset.source}: {line}; mend them or convert without --strict"
            )
    return replace(dataset, images=images), findings


def _clean_image(
    image: ImageRecord, masks: bool, findings: Findings
) -> Iterator[Annotation]:
    for annotation in image.annotations:
        clipped = _clip(annotation, image, findings)
        if clipped is None:
            findings.dropped.add(annotation)
        elif not masks:
            yield replace(clipped, segmentation=None)
        elif clipped.segmentation:
            yield clipped
        else:
            findings.box_masks.add(annotation)
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
        findings.clipped.add(annotation)
    bbox = (left, top, right - left, bottom - top)
    return replace(annotation, bbox=bbox, area=min(annotation.area, bbox[2] * bbox[3]))
