"""Writes the COCO file that evaluation compares a model's detections with."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

from libra_tf.data.records import Annotation, Dataset


def coco_lines(dataset: Dataset) -> Iterator[str]:
    """Yields a COCO detection file of the data set, a record a line.

    Annotation ids that start at 0 are moved up by one: COCO's evaluation takes a
    match with annotation 0 for no match.
    """
    categories = [{"id": c.id, "name": c.name} for c in dataset.categories]
    images = (
        {"id": i.id, "file_name": i.file_name, "width": i.width, "height": i.height}
        for i in dataset.images
    )
    objects = [(i.id, a) for i in dataset.images for a in i.annotations]
    shift = int(any(annotation.id == 0 for _, annotation in objects))
    annotations = (_coco_annotation(a, key, shift) for key, a in objects)
    info = {"description": f"Converted from {os.path.basename(dataset.source)}"}
    yield f'{{"info": {json.dumps(info)},\n"categories": {json.dumps(categories)}'
    for name, records in (("images", images), ("annotations", annotations)):
        yield f',\n"{name}": ['
        for index, record in enumerate(records):
            yield (",\n" if index else "\n") + json.dumps(record)
        yield "]"
    yield "}\n"


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
    return record
