"""Reads and checks a COCO detection file (`instances_*.json`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from libra_tf.data.faults import Fault
from libra_tf.data.findings import Findings
from libra_tf.data.ids import (
    MAX_CATEGORY_ID,
    MAX_ID,
    file_id,
    free_numbers,
    number_ids,
    range_of_categories,
)
from libra_tf.data.masks import check_segmentation
from libra_tf.data.records import (
    Annotation,
    Bbox,
    Category,
    Dataset,
    FileId,
    ImageRecord,
)
from libra_tf.data.values import as_key, as_number, as_truth
from libra_tf.errors import UserError
from libra_tf.files.json_files import read_json

# In `info` of the files we write: `file_id` of a record is the source's own id.
HAS_FILE_IDS = "has_file_ids"


@dataclass
class _Reading:
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

    def refuse(self, error: UserError, image: int | str) -> None:
        """Notes why a picture cannot be used."""
        self.faults.append(Fault(str(error), image))

    def number(self, value: Any, name: object) -> float | None:
        """Returns a number, also of a text, which is counted."""
        number = as_number(value)
        if number is not None and isinstance(value, str):
            self.findings.add("texts", name)
        return number


def read_coco(path: str | Path) -> Dataset:
    """Reads a COCO detection file.

    Null is as missing. A missing `iscrowd` becomes 0, a missing `area` that of the
    box, a missing size 0. Ids that cannot stay are numbered, with the file's own kept
    as `file_id`. Boxes over the border or without area pass here; see `clean_dataset`.

    Returns:
        The data set, with what was mended as `findings` and the records that cannot be
        used as `faults`: `refuse_faults` or `convert` raises for those.

    Raises:
        UserError: it is no such file, or its categories cannot be used.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a COCO file: the outermost value is no object")
    info = content.get("info")
    told = isinstance(info, dict) and info.get(HAS_FILE_IDS) is True
    reading = _Reading(path, has_file_ids=told)
    categories = _categories(content, reading)
    numbers, images = _images(_records(content, "images", path), reading)
    objects: dict[int, list[Annotation]] = {key: [] for key in images}
    for image_id, annotation in _annotations(
        _records(content, "annotations", path), numbers, images, categories, reading
    ):
        objects[image_id].append(annotation)
    return Dataset(
        str(path),
        _by_id(categories),
        tuple(replace(i, annotations=tuple(objects[i.id])) for i in images.values()),
        reading.findings,
        tuple(reading.faults),
    )


def read_categories(content: dict, path: str | Path) -> tuple[Category, ...]:
    """Returns `content["categories"]` in order of id; ids and names must be unique.

    Raises:
        UserError: also for ids outside of 1 to `MAX_CATEGORY_ID`.
    """
    categories = _categories(content, _Reading(path, has_file_ids=True))
    for key, category in categories.items():
        if key != category.id or key == 0:
            raise UserError(
                f"{path}: category {key!r}: id must lie in 1..{MAX_CATEGORY_ID} "
                "(0 is the background); renumber the categories"
            )
    return _by_id(categories)


def _by_id(categories: Mapping[FileId, Category]) -> tuple[Category, ...]:
    return tuple(sorted(categories.values(), key=lambda category: category.id))


def _categories(content: dict, reading: _Reading) -> dict[FileId, Category]:
    """Returns the categories by what the annotations call them."""
    raws: dict[FileId, dict] = {}
    names: dict[str, FileId] = {}
    for raw in _records(content, "categories", reading.path):
        where = f"{reading.path}: category {raw.get('id')!r}"
        key, name = _key(raw, "id", where), _text(raw, "name", where).strip()
        if key in raws:
            raise UserError(f"{where} occurs twice; give every category its own id")
        # Roboflow's root, of id 0, may be named as its only class; `settle_zero` looks.
        if 0 not in (key, names.get(name, 0)):
            raise UserError(f"{where}: name {name!r} occurs twice; rename one")
        raws[key] = raw
        names[name] = key or names.get(name, 0)
    if not raws:
        raise UserError(f"{reading.path}: categories is empty; list the classes there")
    numbers = number_ids(raws, *range_of_categories(raws))
    return {
        key: Category(
            numbers[key], raw["name"].strip(), reading.own_id(raw, numbers[key])
        )
        for key, raw in raws.items()
    }


def _records(content: dict, key: str, path: str | Path) -> list[dict]:
    records = content.get(key)
    if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
        raise UserError(
            f"{path}: {key} is missing or no list of objects; mend it or name another "
            "file"
        )
    return records


def _images(
    raws: list[dict], reading: _Reading
) -> tuple[dict[FileId, int], dict[int, ImageRecord]]:
    """Returns the numbers of all images, and the images that can be used."""
    keys = [as_key(raw.get("id")) for raw in raws]
    numbers = number_ids([key for key in keys if key is not None], 0, MAX_ID)
    images: dict[int, ImageRecord] = {}
    seen: set[FileId] = set()
    for raw in raws:
        where = f"{reading.path}: image {raw.get('id')!r}"
        blamed: int | str = where
        try:
            key = _key(raw, "id", where)
            blamed = number = numbers[key]
            if key in seen:
                images.pop(number, None)
                raise UserError(f"{where} occurs twice; give every image its own id")
            seen.add(key)
            images[number] = _image(raw, number, where, reading)
        except UserError as error:
            reading.refuse(error, blamed)
    return numbers, images


def _image(raw: dict, number: int, where: str, reading: _Reading) -> ImageRecord:
    name = _text(raw, "file_name", where)
    width, height = (_side(raw, side, where, reading) for side in ("width", "height"))
    if not width or not height:
        width = height = 0
    return ImageRecord(number, name, width, height, file_id=reading.own_id(raw, number))


def _side(raw: dict, side: str, where: str, reading: _Reading) -> int:
    """Returns width or height, 0 where it is not told."""
    value = raw.get(side)
    if value is None or value == "":
        return 0
    number = reading.number(value, raw["id"])
    if number is None or number != int(number):
        raise UserError(f"{where}: {side} {value!r} must be a whole number; mend it")
    return max(int(number), 0)


def _annotations(
    raws: list[dict],
    numbers: Mapping[FileId, int],
    images: Mapping[int, ImageRecord],
    categories: Mapping[FileId, Category],
    reading: _Reading,
) -> Iterator[tuple[int, Annotation]]:
    """Yields image number and annotation, of the images that can be used."""
    for raw, number in _numbered(raws, reading):
        where = f"{reading.path}: annotation {raw.get('id')!r}"
        blamed: int | str = where
        try:
            key = _key(raw, "image_id", where)
            blamed = f"image_id {key!r}"
            if key not in numbers:
                raise UserError(
                    f"{where}: image_id {raw['image_id']!r} is not among the images; "
                    "add the image or remove the annotation"
                )
            blamed = image = numbers[key]
            if image in images:
                yield (
                    image,
                    _annotation(raw, number, images[image], categories, where, reading),
                )
        except UserError as error:
            reading.refuse(error, blamed)


def _numbered(raws: list[dict], reading: _Reading) -> Iterator[tuple[dict, int]]:
    """Yields the annotations, each with its own number; one of two equal ones."""
    keys = [as_key(raw.get("id")) for raw in raws]
    numbers = number_ids([key for key in keys if key is not None], 0, MAX_ID)
    free = free_numbers(set(numbers.values()))
    first: dict[FileId, dict] = {}
    for key, raw in zip(keys, raws, strict=True):
        if key is None:
            number = next(free)
            if raw.get("id") is None:
                reading.findings.add("unnumbered", number)
        elif key not in first:
            first[key], number = raw, numbers[key]
        elif first[key] == raw:
            reading.findings.add("repeated", raw["id"])
            continue
        else:
            number = next(free)
            reading.findings.add("renumbered", raw["id"])
        yield raw, number


def _annotation(
    raw: dict,
    number: int,
    image: ImageRecord,
    categories: Mapping[FileId, Category],
    where: str,
    reading: _Reading,
) -> Annotation:
    if raw.get("id") is not None:
        _key(raw, "id", where)
    category = categories.get(_key(raw, "category_id", where))
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


def _bbox(raw: dict, where: str, reading: _Reading) -> Bbox:
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


def _area(raw: dict, bbox: Bbox, where: str, reading: _Reading) -> float:
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


def _outline(raw: dict, image: ImageRecord, where: str, reading: _Reading) -> Any:
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


def _key(raw: dict, key: str, where: str) -> FileId:
    value = _required(raw, key, where)
    known = as_key(value)
    if known is None:
        raise UserError(
            f"{where}: {key} {value!r} must be an integer or a text; mend it"
        )
    return known


def _text(raw: dict, key: str, where: str) -> str:
    value = _required(raw, key, where)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: {key} {value!r} must be a text; mend it")
    return value
