"""Reads and checks a COCO detection file (`instances_*.json`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from libra_tf.data.coco_records import (
    HAS_FILE_IDS,
    Reading,
    annotation_record,
    image_record,
    key_of,
    text_of,
)
from libra_tf.data.ids import (
    MAX_CATEGORY_ID,
    MAX_ID,
    free_numbers,
    number_ids,
    range_of_categories,
)
from libra_tf.data.records import (
    Annotation,
    Category,
    Dataset,
    FileId,
    ImageRecord,
)
from libra_tf.data.values import as_key
from libra_tf.errors import UserError
from libra_tf.files.json_files import read_json


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
    reading = Reading(path, has_file_ids=told)
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
    categories = _categories(content, Reading(path, has_file_ids=True))
    for key, category in categories.items():
        if key != category.id or key == 0:
            raise UserError(
                f"{path}: category {key!r}: id must lie in 1..{MAX_CATEGORY_ID} "
                "(0 is the background); renumber the categories"
            )
    return _by_id(categories)


def _by_id(categories: Mapping[FileId, Category]) -> tuple[Category, ...]:
    return tuple(sorted(categories.values(), key=lambda category: category.id))


def _categories(content: dict, reading: Reading) -> dict[FileId, Category]:
    """Returns the categories by what the annotations call them."""
    raws: dict[FileId, dict] = {}
    names: dict[str, FileId] = {}
    for raw in _records(content, "categories", reading.path):
        where = f"{reading.path}: category {raw.get('id')!r}"
        key, written = key_of(raw, "id", where), text_of(raw, "name", where)
        name = written.strip()
        if name != written:
            reading.findings.add("class_blanks", name)
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
    raws: list[dict], reading: Reading
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
            key = key_of(raw, "id", where)
            blamed = number = numbers[key]
            if key in seen:
                images.pop(number, None)
                raise UserError(f"{where} occurs twice; give every image its own id")
            seen.add(key)
            images[number] = image_record(raw, number, where, reading)
        except UserError as error:
            reading.refuse(error, blamed)
    return numbers, images


def _annotations(
    raws: list[dict],
    numbers: Mapping[FileId, int],
    images: Mapping[int, ImageRecord],
    categories: Mapping[FileId, Category],
    reading: Reading,
) -> Iterator[tuple[int, Annotation]]:
    """Yields image number and annotation, of the images that can be used."""
    for raw, number in _numbered(raws, reading):
        where = f"{reading.path}: annotation {raw.get('id')!r}"
        blamed: int | None = None
        try:
            key = key_of(raw, "image_id", where)
            if key not in numbers:
                raise UserError(
                    f"{where}: image_id {raw['image_id']!r} is not among the images; "
                    "add the image or remove the annotation"
                )
            blamed = image = numbers[key]
            if image in images:
                known = images[image]
                yield (
                    image,
                    annotation_record(raw, number, known, categories, where, reading),
                )
        except UserError as error:
            reading.refuse(error, blamed)


def _numbered(raws: list[dict], reading: Reading) -> Iterator[tuple[dict, int]]:
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
