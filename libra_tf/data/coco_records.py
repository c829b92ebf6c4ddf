"""Single records of a COCO file: what their fields may be, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from libra_tf.data.faults import Fault
from libra_tf.data.findings import Findings
from libra_tf.data.ids import file_id
from libra_tf.data.masks import check_segmentation
from libra_tf.data.records import Annotation, Bbox, Category, FileId, ImageRecord
from libra_tf.data.values import as_key, as_number, as_truth
from libra_tf.errors import UserError

# In `info` of the files we write: `file_id` of a record is the source's own id.
HAS_FILE_IDS = "has_file_ids"


@dataclass
class Reading:
    """A file while it is read."""

    path: str | Path
    has_file_ids: bool
    findings: Findings = field(default_factory=Findings)
    faults: list[Fault] = field(default_factory=list)

    def own_id(self, raw: dict, number: int) -> FileId | None:
        """Returns the source's id of a record that got another number."""
        if self.has_file_ids:
            return raw.get("file_id")
        return file_id(raw["id"], number, self.findings)

    def refuse(self, error: UserError, image: int | str | None) -> None:
        """Notes why a picture cannot be used; None: an object of no known picture."""
        self.faults.append(Fault(str(error), image, is_orphan=image is None))

    def number(self, value: Any, name: object) -> float | None:
        """Returns a number, also of a text, which is counted."""
        number = as_number(value)
        if number is not None and isinstance(value, str):
            self.findings.add("texts", name)
        return number


def image_record(raw: dict, number: int, where: str, reading: Reading) -> ImageRecord:
    """Returns an image; its sides are 0 where they are not both told."""
    name = text_of(raw, "file_name", where)
    width, height = (_side(raw, side, where, reading) for side in ("width", "height"))
    if not width or not height:
        width = height = 0
    return ImageRecord(number, name, width, height, file_id=reading.own_id(raw, number))


def _side(raw: dict, side: str, where: str, reading: Reading) -> int:
    """Returns width or height, 0 where it is not told."""
    value = raw.get(side)
    if value is None or value == "":
        return 0
    number = reading.number(value, raw["id"])
    if number is None or number != int(number):
        raise UserError(f"{where}: {side} {value!r} must be a whole number; mend it")
    return max(int(number), 0)


def annotation_record(
    raw: dict,
    number: int,
    image: ImageRecord,
    categories: Mapping[FileId, Category],
    where: str,
    reading: Reading,
) -> Annotation:
    """Returns an annotation.

    Args:
        raw: the record.
        number: its id.
        image: that it is of.
        categories: by what the annotations call them.
        where: file and record, for messages.
        reading: counts what is mended.

    Raises:
        UserError: names the field.
    """
    if raw.get("id") is not None:
        key_of(raw, "id", where)
    category = categories.get(key_of(raw, "category_id", where))
    if category is None:
        raise UserError(
            f"{where}: category_id {raw['category_id']!r} is not among the categories; "
            "add the category or mend the annotation"
        )
    bbox = _bbox(raw, where, reading)
    return Annotation(
        number,
        category.id,
        bbox,
        _area(raw, bbox, where, reading),
        _crowd(raw, where),
        _outline(raw, image, where, reading),
        reading.own_id(raw, number) if raw.get("id") is not None else None,
    )


def _bbox(raw: dict, where: str, reading: Reading) -> Bbox:
    bbox = _required(raw, "bbox", where)
    sides = bbox if isinstance(bbox, list) and len(bbox) == 4 else [None]
    numbers = [as_number(side) for side in sides]
    if any(number is None for number in numbers):
        raise UserError(
            f"{where}: bbox {bbox!r} must be four finite numbers [x, y, width, "
            "height]; mend or remove it"
        )
    if any(isinstance(side, str) for side in sides):
        reading.findings.add("texts", raw.get("id"))
    x, y, width, height = (number or 0.0 for number in numbers)
    return x, y, width, height


def _area(raw: dict, bbox: Bbox, where: str, reading: Reading) -> float:
    area = raw.get("area")
    if area is None:
        return max(bbox[2], 0.0) * max(bbox[3], 0.0)
    number = reading.number(area, raw.get("id"))
    if number is None or number < 0:
        raise UserError(f"{where}: area {area!r} must be a number >= 0; mend it")
    return number


def _crowd(raw: dict, where: str) -> bool:
    crowd = raw.get("iscrowd")
    truth = False if crowd is None else as_truth(crowd)
    if truth is None:
        raise UserError(f"{where}: iscrowd {crowd!r} must be 0 or 1; mend it")
    return truth


def _outline(raw: dict, image: ImageRecord, where: str, reading: Reading) -> Any:
    """Returns the segmentation; unchecked where the size is not known yet."""
    value = raw.get("segmentation")
    if not image.width:
        return value or None
    return check_segmentation(
        value, image.width, image.height, where, reading.findings, raw.get("id")
    )


def _required(raw: dict, key: str, where: str) -> Any:
    if raw.get(key) is None:
        raise UserError(f"{where}: {key} is missing; add it")
    return raw[key]


def key_of(raw: dict, key: str, where: str) -> FileId:
    """Returns what an id means, see `as_key`."""
    value = _required(raw, key, where)
    known = as_key(value)
    if known is None:
        raise UserError(
            f"{where}: {key} {value!r} must be an integer or a text; mend it"
        )
    return known


def text_of(raw: dict, key: str, where: str) -> str:
    """Returns a text that is more than blanks."""
    value = _required(raw, key, where)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: {key} {value!r} must be a text; mend it")
    return value
