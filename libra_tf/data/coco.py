"""Reads and checks a COCO detection file (`instances_*.json`)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from libra_tf.data.masks import check_segmentation
from libra_tf.data.records import Annotation, Bbox, Category, Dataset, ImageRecord
from libra_tf.errors import UserError
from libra_tf.files.json_files import read_json

# A detector gets one output per id up to the highest.
MAX_CATEGORY_ID = 100_000
MAX_ID = 2**63 - 1


def read_coco(path: str | Path) -> Dataset:
    """Reads a COCO detection file and refuses what would go wrong later.

    Category ids may have gaps (COCO's 1 to 90) but start at 1. A missing `iscrowd`
    becomes 0, a missing `area` that of the box. Boxes over the border or without
    area pass here; see `clean_dataset`.

    Raises:
        UserError: names the file, the record and the field.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a COCO file: the outermost value is no object")
    categories = read_categories(content, path)
    images = dict(_images(_records(content, "images", path), path))
    known = {category.id for category in categories}
    annotations: dict[int, list[Annotation]] = {key: [] for key in images}
    seen: set[int] = set()
    for raw in _records(content, "annotations", path):
        image_id, annotation = _annotation(raw, images, known, path)
        if annotation.id in seen:
            raise UserError(
                f"{path}: annotation {annotation.id} occurs twice; give every "
                "annotation its own id"
            )
        seen.add(annotation.id)
        annotations[image_id].append(annotation)
    complete = (
        ImageRecord(i.id, i.file_name, i.width, i.height, tuple(annotations[i.id]))
        for i in images.values()
    )
    return Dataset(str(path), categories, tuple(complete))


def read_categories(content: dict, path: str | Path) -> tuple[Category, ...]:
    """Returns `content["categories"]` in order of id; ids and names must be unique."""
    names: dict[int, str] = {}
    for raw in _records(content, "categories", path):
        where = f"{path}: category {raw.get('id')!r}"
        key, name = _integer(raw, "id", where), _text(raw, "name", where)
        if not 1 <= key <= MAX_CATEGORY_ID:
            raise UserError(
                f"{where}: id must lie in 1..{MAX_CATEGORY_ID} (0 is the background); "
                "renumber the categories and the category_id of the annotations"
            )
        if key in names:
            raise UserError(f"{where} occurs twice; give every category its own id")
        if name in names.values():
            raise UserError(f"{where}: name {name!r} occurs twice; rename one")
        names[key] = name
    if not names:
        raise UserError(f"{path}: categories is empty; list the classes there")
    return tuple(Category(key, names[key]) for key in sorted(names))


def _records(content: dict, key: str, path: str | Path) -> list[dict]:
    records = content.get(key)
    if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
        raise UserError(
            f"{path}: {key} is missing or no list of objects; mend it or name another "
            "file"
        )
    return records


def _images(
    raw_images: list[dict], path: str | Path
) -> Iterator[tuple[int, ImageRecord]]:
    seen: set[int] = set()
    for raw in raw_images:
        where = f"{path}: image {raw.get('id')!r}"
        key = _integer(raw, "id", where)
        if key in seen:
            raise UserError(f"{where} occurs twice; give every image its own id")
        seen.add(key)
        size = (_integer(raw, "width", where), _integer(raw, "height", where))
        if min(size) < 1:
            raise UserError(f"{where}: width and height must be positive, not {size}")
        yield key, ImageRecord(key, _text(raw, "file_name", where), *size)


def _annotation(
    raw: dict, images: dict[int, ImageRecord], known: set[int], path: str | Path
) -> tuple[int, Annotation]:
    where = f"{path}: annotation {raw.get('id')!r}"
    key = _integer(raw, "id", where)
    image_id = _integer(raw, "image_id", where)
    category_id = _integer(raw, "category_id", where)
    if image_id not in images:
        raise UserError(
            f"{where}: image_id {image_id} is not among the images; add the image or "
            "remove the annotation"
        )
    if category_id not in known:
        raise UserError(
            f"{where}: category_id {category_id} is not among the categories; add "
            "the category or mend the annotation"
        )
    image = images[image_id]
    bbox = _bbox(raw, where)
    area = raw.get("area", max(bbox[2], 0.0) * max(bbox[3], 0.0))
    crowd = raw.get("iscrowd", 0)
    if not _is_finite(area) or area < 0:
        raise UserError(f"{where}: area {area!r} must be a number >= 0; mend it")
    if crowd not in (0, 1):
        raise UserError(f"{where}: iscrowd {crowd!r} must be 0 or 1; mend it")
    outline = check_segmentation(
        raw.get("segmentation"), image.width, image.height, where
    )
    return image_id, Annotation(
        key, category_id, bbox, float(area), bool(crowd), outline
    )


def _bbox(raw: dict, where: str) -> Bbox:
    bbox = _required(raw, "bbox", where)
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(_is_finite, bbox)):
        raise UserError(
            f"{where}: bbox {bbox!r} must be four finite numbers [x, y, width, "
            "height]; mend or remove it"
        )
    x, y, width, height = map(float, bbox)
    return x, y, width, height


def _is_finite(value: Any) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:
        return False


def _required(raw: dict, key: str, where: str) -> Any:
    if key not in raw:
        raise UserError(f"{where}: {key} is missing; add it")
    return raw[key]


def _integer(raw: dict, key: str, where: str) -> int:
    value = _required(raw, key, where)
    # `type`, not `isinstance`: true would pass as the id 1.
    if type(value) is not int or not 0 <= value <= MAX_ID:
        raise UserError(f"{where}: {key} {value!r} must be an integer >= 0; mend it")
    return value


def _text(raw: dict, key: str, where: str) -> str:
    value = _required(raw, key, where)
    if not isinstance(value, str) or not value:
        raise UserError(f"{where}: {key} {value!r} must be a text; mend it")
    return value
