"""Checks of COCO annotations and results, before a metric is computed from them.

Each failure is one line that names the file and the first records at fault.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from libra_tf.data.ids import MAX_ID
from libra_tf.data.masks import check_mask
from libra_tf.data.records import FileId
from libra_tf.data.values import as_number, as_truth
from libra_tf.errors import UserError
from libra_tf.evaluation.file_ids import FileIds

SHOWN = 5
MAX_SIDE = 100_000  # pixels of an image with masks
Records = list[dict[str, Any]]


@dataclass(frozen=True)
class GroundTruth:
    """COCO annotations that have been checked, see `check_ground_truth`.

    Attributes:
        name: the file, for messages.
        images: with different ids.
        categories: with different ids.
        annotations: of these images and categories; each has an id from 1, `area` and
            `iscrowd`.
        file_ids: of the images and categories that the source numbers otherwise.
    """

    name: str
    images: Records
    categories: Records
    annotations: Records
    file_ids: FileIds = field(default_factory=FileIds)

    def on_images(self, kept: set[int]) -> GroundTruth:
        """Returns the part on some images."""
        return replace(
            self,
            images=[i for i in self.images if i["id"] in kept],
            annotations=[a for a in self.annotations if a["image_id"] in kept],
        )


def first_few(values: Iterable[Any]) -> str:
    """Returns the first values as text, and how many more there are."""
    values = list(values)
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return ", ".join(map(str, values[:SHOWN])) + more


def check_ground_truth(data: Any, name: str) -> GroundTruth:
    """Returns a copy of a COCO annotation dict that an evaluator can rely on.

    Annotations get ids from 1 (id 0 means "not matched" to the COCO code, so an
    annotation of id 0 would count as missed), and defaults for `area` and `iscrowd`.

    Args:
        data: what the annotation file holds; it stays as it is.
        name: the file, for messages.

    Raises:
        UserError: when a part is missing, malformed or contradicts another.
    """
    for part in ("images", "annotations", "categories"):
        if not isinstance(data, dict) or not isinstance(data.get(part), list):
            raise UserError(f"{name}: is not a COCO annotation file: no list {part!r}")
    image_ids = _unique_ids(data["images"], "image", name)
    category_ids = _unique_ids(data["categories"], "category", name)
    if not image_ids:
        raise UserError(f"{name}: lists no images; there is nothing to evaluate")
    annotations = []
    for number, annotation in enumerate(data["annotations"], start=1):
        where = f"{name}: annotation {number} of {len(data['annotations'])}"
        _check_record(annotation, where, image_ids, category_ids)
        annotations.append({**annotation, **_defaults(annotation, where), "id": number})
    return GroundTruth(
        name,
        list(data["images"]),
        list(data["categories"]),
        annotations,
        FileIds.of(data),
    )


def _unique_ids(records: list[Any], kind: str, name: str) -> set[int]:
    """Returns the ids of images or categories; they are whole numbers, each once."""
    ids: set[int] = set()
    for record in records:
        value = record.get("id") if isinstance(record, dict) else None
        if type(value) is not int or abs(value) > MAX_ID:
            raise UserError(
                f"{name}: {kind} id {value!r} is not a whole number of 64 bits"
            )
        if value in ids:
            raise UserError(f"{name}: {kind} id {value} occurs twice; ids must differ")
        ids.add(value)
    return ids


def _check_record(
    record: Any, where: str, image_ids: set[int], category_ids: set[int]
) -> None:
    if not isinstance(record, dict):
        raise UserError(f"{where}: is not an object with image_id and bbox")
    image_id, category_id = record.get("image_id"), record.get("category_id")
    if not _in(image_id, image_ids):
        raise UserError(f"{where}: image id {image_id!r} is not among the images")
    if not _in(category_id, category_ids):
        raise UserError(f"{where}: unknown category id {category_id!r}")
    if not _is_box(record.get("bbox")):
        raise UserError(f"{where} (image {image_id}): bbox is not four finite numbers")


def _defaults(annotation: dict[str, Any], where: str) -> dict[str, Any]:
    """Returns `area` and `iscrowd`, also where they are missing or null."""
    width, height = annotation["bbox"][2:]
    area, crowd = annotation.get("area"), annotation.get("iscrowd")
    truth = False if crowd is None else as_truth(crowd)
    if area is not None and not _is_number(area):
        raise UserError(f"{where}: area {area!r} is not a finite number; mend it")
    if truth is None:
        raise UserError(f"{where}: iscrowd {crowd!r} must be 0 or 1; mend it")
    return {"area": width * height if area is None else area, "iscrowd": int(truth)}


def _is_number(value: Any) -> bool:
    number = value.item() if isinstance(value, np.number) else value
    return not isinstance(number, str) and as_number(number) is not None


def _is_box(box: Any) -> bool:
    values = box.tolist() if isinstance(box, np.ndarray) else box
    is_four = isinstance(values, list | tuple) and len(values) == 4
    return is_four and all(map(_is_number, values))


def check_detections(
    detections: Any,
    name: str,
    image_ids: Collection[FileId],
    category_ids: Collection[FileId] | None = None,
) -> None:
    """Checks a list of COCO results against the images and categories that exist.

    Args:
        detections: what the result file holds.
        name: the file, for messages.
        image_ids: ids of the annotation file.
        category_ids: ids of the annotation file; None for class-agnostic boxes.

    Raises:
        UserError: naming the first unknown ids or the first malformed record.
    """
    if not isinstance(detections, list):
        raise UserError(f"{name}: is not a list of COCO results")
    for number, record in enumerate(detections, start=1):
        fields = ["image_id", "bbox", "score"]
        fields += ["category_id"] if category_ids is not None else []
        missing = [f for f in fields if not isinstance(record, dict) or f not in record]
        if missing:
            raise UserError(f"{name}: result {number} has no {', '.join(missing)}")
    _check_known(detections, "image_id", image_ids, name)
    if category_ids is not None:
        _check_known(detections, "category_id", category_ids, name)
    _check_numbers(detections, name)


def check_have_masks(records: Records, name: str, kinds: tuple) -> None:
    """Checks that each record has a segmentation of one of the Python types `kinds`."""
    for number, record in enumerate(records, start=1):
        mask = record.get("segmentation")
        if not mask or not isinstance(mask, kinds):
            raise UserError(
                f"{name}: record {number} (image {record['image_id']}) has no mask; "
                "mask AP needs a segmentation in every record"
            )


def check_masks(records: Records, name: str, truth: GroundTruth) -> None:
    """Checks that each record's segmentation is a mask of its image.

    The matchers trust run lengths and polygons: in C, a wrong one has no end.

    Args:
        records: on images of `truth`.
        name: the file, for messages.
        truth: tells the sizes of the images.

    Raises:
        UserError: names the first record at fault, or an image without a size.
    """
    sizes = {image["id"]: image for image in truth.images}
    for number, record in enumerate(records, start=1):
        image = sizes[record["image_id"]]
        width, height = image.get("width", 0), image.get("height", 0)
        if not all(type(x) is int and 0 < x <= MAX_SIDE for x in (width, height)):
            raise UserError(
                f"{truth.name}: image {image['id']}: mask AP needs its width and "
                f"height, from 1 to {MAX_SIDE}"
            )
        where = f"{name}: record {number} (image {image['id']})"
        check_mask(record["segmentation"], width, height, where)


def _check_known(
    detections: list[dict[str, Any]], field: str, known: Collection[FileId], name: str
) -> None:
    # Unhashable and odd ids are unknown ids too; `repr` tells "7" from 7.
    wrong = {repr(d[field]): None for d in detections if not _in(d[field], known)}
    if wrong:
        kind = field.removesuffix("_id")
        raise UserError(
            f"{name}: {kind} ids not in the annotation file: {first_few(wrong)}; "
            "evaluate against the file of the same data set and split"
        )


def _in(value: Any, known: Collection[FileId]) -> bool:
    return isinstance(value, int | np.integer | str) and value in known


def _check_numbers(detections: list[dict[str, Any]], name: str) -> None:
    """Boxes and scores are finite; one array test, a search only on failure."""
    try:
        table = np.array([[*d["bbox"], d["score"]] for d in detections])
        is_table = table.shape == (len(detections), 5) and table.dtype.kind in "fiu"
        if is_table and np.isfinite(table).all():
            return
    except (TypeError, ValueError):
        pass
    for number, record in enumerate(detections, start=1):
        if not _is_box(record["bbox"]) or not _is_number(record["score"]):
            raise UserError(
                f"{name}: result {number} (image {record['image_id']}): bbox and score "
                "must be finite numbers"
            )
