"""Writes the COCO file that evaluation compares a model's detections with."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

from libra_tf.data.coco_records import HAS_FILE_IDS
from libra_tf.data.records import Annotation, Category, Dataset, ImageRecord


def coco_lines(dataset: Dataset) -> Iterator[str]:
    """Yields a COCO detection file of the data set, a record a line.

    Annotation ids that start at 0 are moved up by one: COCO's evaluation takes a
    match with annotation 0 for no match. `file_id` is the source's own id of a record
    that got another.
    """
    categories = [category_record(category) for category in dataset.categories]
    images = (_coco_image(image) for image in dataset.images)
    objects = [(i.id, a) for i in dataset.images for a in i.annotations]
    shift = int(any(annotation.id == 0 for _, annotation in objects))
    annotations = (_coco_annotation(a, key, shift) for key, a in objects)
    info = {
        "description": f"Converted from {os.path.basename(dataset.source)}",
        HAS_FILE_IDS: True,
    }
    yield f'{{"info": {json.dumps(info)},\n"categories": {json.dumps(categories)}'
    for name, records in (("images", images), ("annotations", annotations)):
        yield f',\n"{name}": ['
        for index, record in enumerate(records):
            yield (",\n" if index else "\n") + json.dumps(record)
        yield "]"
    yield "}\n"


def category_record(category: Category) -> dict:
    """Returns a category as COCO files and `dataset.json` have it."""
    return _with_file_id({"id": category.id, "name": category.name}, category)


def _coco_image(image: ImageRecord) -> dict:
    record = {
        "id": image.id,
        "file_name": image.file_name,
        "width": image.width,
        "height": image.height,
    }
    return _with_file_id(record, image)


def _with_file_id(record: dict, source: Category | ImageRecord | Annotation) -> dict:
    return record if source.file_id is None else {**record, "file_id": source.file_id}


def _coco_annotation(annotation: Annotation, image_id: int, shift: int) -> dict:
    record = {
        "id": annotation.id + shift,
        "image_id": image_id,
        "category_id": annotation.category_id,
        "bbox": list(annotation.bbox),
        "area": annotation.area,
        "iscrowd": int(annotation.iscrowd),
    }
    if annotation.segmentation:
        record["segmentation"] = annotation.segmentation
    return _with_file_id(record, annotation)
