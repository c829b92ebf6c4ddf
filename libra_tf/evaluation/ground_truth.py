"""Ground truth of an evaluation: from the annotation file, or from the batches."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from libra_tf.errors import UserError
from libra_tf.evaluation import coco_checks
from libra_tf.evaluation.batches import image_ids, paste_masks, to_numpy
from libra_tf.evaluation.coco_results import encode_masks, yxyx_to_xywh
from libra_tf.files.json_files import parse_json, read_json

FIELDS = ("source_id", "height", "width", "num_detections", "boxes", "classes")


def read_ground_truth(
    path: str, class_names: Mapping[int, str], include_mask: bool = False
) -> coco_checks.GroundTruth:
    """Reads and checks a COCO annotation file, local or on TensorFlow's file systems.

    Args:
        path: the file.
        class_names: category id to name, where they replace the file's.
        include_mask: every annotation has to have a mask.

    Raises:
        UserError: for a file that cannot be used.
    """
    data = _read_remote(path) if "://" in path else read_json(path)
    truth = coco_checks.check_ground_truth(data, path)
    if include_mask:
        coco_checks.check_have_masks(truth.annotations, path, (list, dict))
        coco_checks.check_masks(truth.annotations, path, truth)
    for category in truth.categories:
        if category["id"] in class_names:
            category["name"] = class_names[category["id"]]
    return truth


def _read_remote(path: str) -> Any:
    import tensorflow as tf

    try:
        with tf.io.gfile.GFile(path) as file:
            return parse_json(file.read(), path)
    except tf.errors.OpError as error:
        raise UserError(f"{path}: cannot be read: {error.message}") from error


class CollectedGroundTruth:
    """Images and annotations seen so far; each image counts once.

    The batches are those of Model Garden's parsers: boxes `yxyx` in pixels of the
    original image, padded, and `num_detections` of shape [B] (Mask R-CNN) or [B, 1]
    (RetinaNet). Masks are PNG files, or crops of the boxes; crops are pasted back, so
    their outlines are only as fine as the crop.
    """

    def __init__(self, include_mask: bool = False):
        self._include_mask = include_mask
        self._images: dict[int, dict[str, int]] = {}
        self._annotations: list[dict[str, Any]] = []

    def add(self, groundtruths: Mapping[str, Any] | None) -> None:
        """Adds one batch.

        Raises:
            ValueError: when the batch lacks a field.
        """
        fields = (*FIELDS, "masks") if self._include_mask else FIELDS
        batch = to_numpy(groundtruths or {}, fields)
        for row, image_id in enumerate(image_ids(batch["source_id"])):
            if image_id not in self._images:
                image = {name: value[row] for name, value in batch.items()}
                self._images[image_id] = {
                    "id": image_id,
                    "height": _whole(image["height"]),
                    "width": _whole(image["width"]),
                }
                self._annotations += self._read(image_id, image)

    @property
    def state(self) -> dict[str, Any]:
        """Everything so far, of what JSON can hold."""
        return {"images": [*self._images.values()], "annotations": self._annotations}

    def add_state(self, state: dict[str, Any]) -> None:
        """Adds the `state` of another, without images that are here."""
        new = {i["id"]: i for i in state["images"] if i["id"] not in self._images}
        self._images |= new
        self._annotations += [a for a in state["annotations"] if a["image_id"] in new]

    def dataset(self, class_names: Mapping[int, str]) -> coco_checks.GroundTruth:
        """Returns everything as COCO annotations, checked."""
        data = {
            "images": list(self._images.values()),
            "annotations": self._annotations,
            "categories": self.categories(class_names),
        }
        return coco_checks.check_ground_truth(data, "ground truth")

    def categories(self, class_names: Mapping[int, str]) -> coco_checks.Records:
        """Returns COCO categories: those of the names, and others that were seen."""
        ids = {a["category_id"] for a in self._annotations} | set(class_names)
        return [{"id": i, "name": class_names.get(i, str(i))} for i in sorted(ids)]

    def _read(self, image_id: int, image: dict[str, np.ndarray]) -> list[dict]:
        # The parsers cut the objects to a fixed number, but not their count.
        number = min(_whole(image["num_detections"]), len(image["classes"]))
        boxes: np.ndarray = image["boxes"][:number].astype(np.float64)
        xywh = yxyx_to_xywh(boxes)
        areas = image.get("areas", xywh[:, 2:].prod(axis=1))
        crowds = image.get("is_crowds", np.zeros(number))
        annotations = [
            {
                "image_id": image_id,
                "category_id": int(image["classes"][k]),
                "bbox": xywh[k].tolist(),
                "area": float(areas[k]),
                "iscrowd": int(crowds[k]),
            }
            for k in range(number)
        ]
        if self._include_mask:
            size = (_whole(image["height"]), _whole(image["width"]))
            masks = _masks(image["masks"][:number], boxes, size)
            for annotation, mask in zip(annotations, masks, strict=True):
                annotation["segmentation"] = mask
        return annotations


def _masks(
    masks: np.ndarray, boxes: np.ndarray, size: tuple[int, int]
) -> list[dict[str, Any]]:
    if masks.ndim == 3:
        return paste_masks(masks, boxes, size)
    from PIL import Image

    pictures = [
        np.asarray(Image.open(io.BytesIO(png), formats=["PNG"])) > 0 for png in masks
    ]
    return encode_masks(pictures)


def _whole(value: np.ndarray) -> int:
    return int(np.reshape(value, -1)[0])
