"""Which class each output of a published detector stands for.

An output has no name in the weights. Here a class is an id from 1, since 0 is the
background, and COCO's ids have gaps: a detector of 80 classes gets 90 outputs, ten of
which never score, so that its results carry COCO's ids and it can be trained on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from libra_tf.data.coco import read_categories
from libra_tf.errors import UserError
from libra_tf.files.json_files import read_json
from libra_tf.ops.logits import NEVER

# The 80 classes of COCO, in the order of the outputs of published detectors. Their
# ids go up to 90: ten of the 91 categories that were planned have no boxes.
_COCO_NAMES = {
    1: "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, "
    "traffic light, fire hydrant",
    13: "stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, "
    "bear, zebra, giraffe",
    27: "backpack, umbrella",
    31: "handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, "
    "baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle",
    46: "wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, "
    "broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed",
    67: "dining table",
    70: "toilet",
    72: "tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, "
    "sink, refrigerator",
    84: "book, clock, vase, scissors, teddy bear, hair drier, toothbrush",
}
# Category id to name.
COCO_CLASSES = {
    first + k: name
    for first, names in _COCO_NAMES.items()
    for k, name in enumerate(names.split(", "))
}
_ROI_CLASSES, _ROI_DELTAS = "roi_head.bbox_head.fc_cls.", "roi_head.bbox_head.fc_reg."
_DENSE_CLASSES = "bbox_head.retina_cls."


def choose_class_names(
    num_classes: int, meta: Mapping[str, Any], path: str | os.PathLike | None = None
) -> dict[int, str]:
    """Returns class id to name, in the order of the detector's outputs.

    Args:
        num_classes: of the detector, without background.
        meta: of the checkpoint; mmdetection saves the names there.
        path: file that gives the names instead, see `read_class_names`.

    Returns:
        What the file says; else COCO's ids and names for 80 classes that are not said
        to be others; else the checkpoint's names, or class_1, class_2, ..., from id 1.

    Raises:
        UserError: the file has another number of classes.
    """
    if path is not None:
        names = read_class_names(path)
        if len(names) != num_classes:
            raise UserError(
                f"{path}: has {len(names)} classes, the detector {num_classes}"
            )
        return names
    saved = _saved_names(meta)
    if saved is not None and (len(set(saved)), len(saved)) != (num_classes,) * 2:
        raise UserError(
            f"the checkpoint names {len(saved)} classes, {len(set(saved))} different "
            f"ones, but the detector has {num_classes}; name them with --class-names"
        )
    if num_classes == len(COCO_CLASSES) and saved in (None, [*COCO_CLASSES.values()]):
        return dict(COCO_CLASSES)
    saved = saved or [f"class_{i}" for i in range(1, num_classes + 1)]
    return dict(enumerate(saved, start=1))


def _saved_names(meta: Mapping[str, Any]) -> list[str] | None:
    inner = meta.get("dataset_meta")  # mmdetection 3
    for source in (inner if isinstance(inner, dict) else {}, meta):
        for key in ("CLASSES", "classes"):
            value = source.get(key)
            names = list(value) if isinstance(value, tuple | list) else []
            if names and all(isinstance(n, str) and n.isprintable() for n in names):
                return names
    return None


def read_class_names(path: str | os.PathLike) -> dict[int, str]:
    """Reads class id to name from a file.

    Args:
        path: text with one name a line, which get the ids from 1; or JSON with
            `categories`, such as a COCO annotation file or `dataset.json`, whose order
            is that of the outputs.

    Raises:
        UserError: it cannot be read, or has no names or one twice.
    """
    path = os.fspath(path)
    if path.endswith(".json"):
        content = read_json(path)
        if not isinstance(content, dict):
            raise UserError(f"{path}: has no `categories`")
        by_id = {c.id: c.name for c in read_categories(content, path)}
        return {raw["id"]: by_id[raw["id"]] for raw in content["categories"]}
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UserError(f"{path}: cannot be read as text: {why}") from error
    names = [line for line in lines if line]
    if not names or len(set(names)) != len(names):
        raise UserError(f"{path}: give one name a line, each once")
    return dict(enumerate(names, start=1))


def shape_in_file(
    name: str, shape: tuple[int, ...], class_ids: Sequence[int]
) -> tuple[int, ...]:
    """Returns the shape that `place_classes` makes `shape` of."""
    classes, highest = len(class_ids), max(class_ids, default=0)
    if name.startswith(_ROI_CLASSES):
        return (shape[0] - highest + classes, *shape[1:])
    if name.startswith((_ROI_DELTAS, _DENSE_CLASSES)) and highest:
        return (shape[0] // highest * classes, *shape[1:])
    return shape


def place_classes(name: str, array: np.ndarray, class_ids: Sequence[int]) -> np.ndarray:
    """Moves each class of a weight to its id; outputs between them never score.

    Args:
        name: of the weight, in mmdetection.
        array: [outputs, ...], PyTorch's layout, classes in the order of `class_ids`.
        class_ids: id of each class, from 1.

    Returns:
        [more outputs, ...], with `max(class_ids)` classes; `array` itself for a weight
        that has no classes, or where the ids are 1, 2, 3, ...
    """
    if list(class_ids) == list(range(1, len(class_ids) + 1)):
        return array
    rest = array.shape[1:]
    gap = NEVER if name.endswith(".bias") else 0.0
    if name.startswith(_ROI_CLASSES):
        # Background stays the last output.
        placed = _place(array[np.newaxis, :-1], class_ids, gap)[0]
        return np.concatenate([placed, array[-1:]])
    if name.startswith(_ROI_DELTAS):
        per_class = array.reshape(1, len(class_ids), -1, *rest)
        return _place(per_class, class_ids, 0.0).reshape(-1, *rest)
    if name.startswith(_DENSE_CLASSES):
        per_anchor = array.reshape(-1, len(class_ids), *rest)
        return _place(per_anchor, class_ids, gap).reshape(-1, *rest)
    return array


def _place(array: np.ndarray, class_ids: Sequence[int], gap: float) -> np.ndarray:
    """[N, classes, ...] -> [N, highest id, ...]."""
    shape = (array.shape[0], max(class_ids), *array.shape[2:])
    placed = np.full(shape, gap, array.dtype)
    placed[:, np.asarray(class_ids) - 1] = array
    return placed
