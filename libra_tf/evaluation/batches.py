"""One batch of Model Garden's predictions or ground truth, as rows of numpy arrays.

Shape shorthand in this module: B images, K padded detections or objects, P
proposals, m the side of a mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from libra_tf.errors import UserError
from libra_tf.evaluation.coco_results import encode_masks

PREDICTION_FIELDS = (
    "source_id",
    "image_info",
    "num_detections",
    "detection_boxes",
    "detection_classes",
    "detection_scores",
)
# `image_info` is [B, 4, 2]: original size, resized size, scale, offset (y, x each).
ORIGINAL_SIZE, SCALE = 0, 2
_MOST_CLASSES = 2**31


@dataclass(frozen=True)
class ImageDetections:
    """Detections of one image: boxes [K, 4] `yxyx` in pixels of the original."""

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    masks: list[dict[str, Any]] | None = None
    proposals: np.ndarray | None = None
    num_dropped: int = 0


def to_numpy(batch: Mapping[str, Any], required: tuple[str, ...]) -> dict[str, Any]:
    """Returns the arrays of a batch; values of several replicas are put together.

    Args:
        batch: name to tensor, array, or tuple of them (one for each replica).
        required: names that have to be there.

    Raises:
        ValueError: when one is missing.
    """
    missing = [name for name in required if name not in batch]
    if missing:
        raise ValueError(f"the batch has no {', '.join(missing)}; it has {list(batch)}")
    return {
        name: _array(value)
        for name, value in batch.items()
        if not isinstance(value, Mapping)
    }


def _array(value: Any) -> np.ndarray:
    if isinstance(value, tuple | list):
        return np.concatenate([_array(part) for part in value])
    return value.numpy() if hasattr(value, "numpy") else np.asarray(value)


def image_ids(source_ids: np.ndarray) -> list[int]:
    """Returns COCO image ids; `source_id` is a whole number or its text.

    Raises:
        UserError: for another text, and for -1, which stands for a missing id.
    """
    ids = []
    for value in source_ids.reshape(-1).tolist():
        text = value.decode(errors="replace") if isinstance(value, bytes) else value
        try:
            ids.append(int(text))
        except ValueError as error:
            raise UserError(
                f"source_id {text!r} is not a whole number; write the COCO image id "
                "to image/source_id of the records"
            ) from error
    if -1 in ids:
        raise UserError("a record has no image/source_id; write the COCO image id")
    return ids


def rows(predictions: dict[str, np.ndarray], skip: set[int]) -> Iterator[tuple]:
    """Yields image id and `ImageDetections`, padding removed, once per image.

    Args:
        predictions: arrays as `to_numpy` returns them: `PREDICTION_FIELDS`, and
            perhaps `detection_masks` [B, K, m, m], `detection_outer_boxes` [B, K, 4]
            (what the masks lie in) and `proposals` [B, P, 4].
        skip: images that need not be read again.
    """
    done = set(skip)
    for row, image_id in enumerate(image_ids(predictions["source_id"])):
        if image_id not in done:
            done.add(image_id)
            yield image_id, _detections({k: v[row] for k, v in predictions.items()})


def _detections(image: dict[str, np.ndarray]) -> ImageDetections:
    number = int(image["num_detections"].reshape(-1)[0])
    scale = np.tile(image["image_info"][SCALE], 2).astype(np.float32)
    boxes = image["detection_boxes"][:number].astype(np.float32) / scale
    scores: np.ndarray = image["detection_scores"][:number].astype(np.float32)
    # A model with NaN weights must not stop the training loop from here.
    kinds = image["detection_classes"][:number].astype(np.float64)
    good = np.isfinite(boxes).all(axis=-1) & np.isfinite(scores)
    good &= np.abs(kinds) < _MOST_CLASSES  # NaN is not
    masks: list[dict[str, Any]] | None = None
    proposals: np.ndarray | None = None
    if "detection_masks" in image:
        outer = image.get("detection_outer_boxes", image["detection_boxes"])
        height, width = (int(n) for n in image["image_info"][ORIGINAL_SIZE])
        masks = paste_masks(
            image["detection_masks"][:number][good],
            outer[:number][good].astype(np.float32) / scale,
            (height, width),
        )
    if "proposals" in image:
        proposals = image["proposals"].astype(np.float32) / scale
        proposals = proposals[(proposals[:, 2:] > proposals[:, :2]).all(axis=-1)]
    classes: np.ndarray = kinds[good].astype(int)
    return ImageDetections(
        boxes[good],
        classes,
        scores[good],
        masks,
        proposals,
        num_dropped=int((~good).sum()),
    )


def paste_masks(
    masks: np.ndarray, boxes: np.ndarray, size: tuple[int, int]
) -> list[dict[str, Any]]:
    """Returns masks of boxes as run-length encodings of the whole image.

    Args:
        masks: [K, m, m], in [0, 1], each seen in its box.
        boxes: [K, 4], `yxyx`, pixels.
        size: height and width of the image.
    """
    from official.vision.ops import box_ops, mask_ops

    xywh = box_ops.yxyx_to_xywh(boxes)
    encoded = []
    # One at a time: K whole images at once are hundreds of megabytes.
    for k in range(len(masks)):
        pasted = mask_ops.paste_instance_masks(
            masks[k : k + 1].astype(np.float32), xywh[k : k + 1], *size
        )
        encoded += encode_masks(pasted)
    return encoded
