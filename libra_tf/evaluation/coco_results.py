"""COCO result records of detections.

Shape shorthand in this module: K detections of one image, H and W its height and
width in pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

# 0.1 millipixel; float32 scores above 0.1 stay distinct with eight decimals, so a
# saved file gives the same AP as the detections it was written from.
BOX_DECIMALS = 4
SCORE_DECIMALS = 8


def to_coco_results(
    image_id: int,
    boxes: np.ndarray,
    classes: np.ndarray,
    scores: np.ndarray,
    masks: list[dict[str, Any]] | np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Returns the detections of one image as COCO result records.

    Args:
        image_id: the image's id in the annotation file.
        boxes: [K, 4], `yxyx`, pixels of the original image.
        classes: [K], category ids.
        scores: [K], in [0, 1].
        masks: K run-length encodings, or a binary array [K, H, W]; or None.

    Returns:
        K dicts of plain Python numbers, ready for `json`: `bbox` is x, y, width,
        height.
    """
    xywh = np.round(yxyx_to_xywh(boxes), BOX_DECIMALS).tolist()
    scores = np.round(np.asarray(scores, np.float64), SCORE_DECIMALS).tolist()
    classes = np.asarray(classes).astype(int).tolist()
    results = [
        {"image_id": int(image_id), "category_id": c, "bbox": b, "score": s}
        for c, b, s in zip(classes, xywh, scores, strict=True)
    ]
    if masks is not None:
        encoded = encode_masks(masks) if isinstance(masks, np.ndarray) else masks
        for result, mask in zip(results, encoded, strict=True):
            result["segmentation"] = mask
    return results


def yxyx_to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Returns boxes [K, 4] as x, y, width, height in float64."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    corner, size = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([corner[:, ::-1], size[:, ::-1]], axis=1)


def encode_masks(masks: Iterable[np.ndarray]) -> list[dict[str, Any]]:
    """Returns K binary masks [H, W] as run-length encodings that `json` takes."""
    from pycocotools import mask as mask_api

    encoded = []
    for mask in masks:
        code = mask_api.encode(np.asfortranarray(mask, dtype=np.uint8))
        encoded.append({"size": code["size"], "counts": code["counts"].decode()})
    return encoded
