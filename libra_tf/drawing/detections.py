"""Pictures of detections and of ground truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from libra_tf.drawing.frames import check_width, draw_frame, line_width
from libra_tf.drawing.labels import Label, write_labels
from libra_tf.drawing.palette import Color, class_color

# Small images are enlarged before drawing, so that names and scores can be read.
SHORT_SIDE = 480
LONG_SIDE = 4096
MASK_OPACITY = 0.4
TRUTH_COLOR: Color = (255, 255, 255)


@dataclass(frozen=True)
class Mark:
    """A box to draw.

    Attributes:
        box: [4], `yxyx`, pixels of the image.
        color: of its line and of its label's background.
        text: of its label; "" for none.
        dashed: a dashed line, which stands for ground truth.
        mask: [H, W], binary, or None.
    """

    box: np.ndarray
    color: Color
    text: str = ""
    dashed: bool = False
    mask: np.ndarray | None = None


def draw_detections(
    image: np.ndarray,
    boxes: np.ndarray,
    classes: np.ndarray,
    scores: np.ndarray,
    class_names: Mapping[int, str],
    *,
    threshold: float = 0.5,
    masks: np.ndarray | None = None,
    truth: np.ndarray | None = None,
    width: int | None = None,
    labels: bool = True,
) -> np.ndarray:
    """Returns a picture of the detections, one colour per class, best score on top.

    Args:
        image: uint8 [H, W, 3].
        boxes: [K, 4], `yxyx`, pixels of `image`.
        classes: [K], category ids.
        scores: [K], in [0, 1].
        class_names: category id to name; an id without name is shown as a number.
        threshold: detections below this score are not drawn.
        masks: [K, H, W], binary; or None.
        truth: [G, 4], boxes of the ground truth, as white dashes; or None.
        width: of lines, pixels of the picture; None: what fits it.
        labels: write class and score beside each box.

    Returns:
        uint8 [H', W', 3]; an image whose short side is below 480 pixels is enlarged.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    order = np.argsort(scores, kind="stable")
    marks = []
    for k in order[np.asarray(scores)[order] >= threshold]:
        name = class_names.get(int(classes[k]), str(int(classes[k])))
        text = f"{name} {scores[k]:.2f}" if labels else ""
        mask = None if masks is None else masks[k]
        marks.append(Mark(boxes[k], class_color(classes[k]), text, mask=mask))
    objects = np.zeros((0, 4)) if truth is None else np.reshape(truth, (-1, 4))
    marks += [Mark(box, TRUTH_COLOR, dashed=True) for box in objects]
    return draw_marks(image, marks, width)


def draw_marks(
    image: np.ndarray, marks: Sequence[Mark], width: int | None = None
) -> np.ndarray:
    """Returns a picture of marks; the last lies on top, and its label is placed first.

    Args:
        image: uint8 [H, W, 3].
        marks: what to draw.
        width: of lines, pixels of the picture; None: what fits it.

    Raises:
        UserError: the width is not from 1 to 20.
    """
    picture, scale = _enlarge(np.asarray(image, np.uint8))
    width = line_width(picture) if width is None else check_width(width)
    for mark in marks:
        if mark.mask is not None:
            _paint(picture, mark.mask, mark.color)
    for mark in marks:
        draw_frame(picture, mark.box * scale, mark.color, width, mark.dashed)
    labels = []
    for mark in reversed(marks):
        if mark.text:
            top, left, bottom, right = (float(v) for v in mark.box * scale)
            labels.append(Label(mark.text, (left, top, right, bottom), mark.color))
    return write_labels(picture, labels, gap=width + 1) if labels else picture


def decode_masks(encodings: list[dict[str, Any]] | None) -> np.ndarray | None:
    """Returns [K, H, W] uint8 from COCO run-length encodings; None for None."""
    if not encodings:
        return None
    from pycocotools import mask as coco_mask

    return np.stack([coco_mask.decode(encoding) for encoding in encodings])


def _enlarge(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns a copy of at least `SHORT_SIDE` pixels, and its scale."""
    from PIL import Image

    height, width = image.shape[:2]
    scale = max(1.0, SHORT_SIDE / min(height, width))
    scale = max(1.0, min(scale, LONG_SIDE / max(height, width)))
    size = (round(width * scale), round(height * scale))
    enlarged = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    return np.array(enlarged), scale


def _paint(picture: np.ndarray, mask: np.ndarray, color: Color) -> None:
    from PIL import Image

    height, width = picture.shape[:2]
    resized = Image.fromarray(np.asarray(mask, np.uint8) * 255).resize((width, height))
    inside = np.asarray(resized) > 127
    blended = picture[inside] * (1 - MASK_OPACITY) + np.array(color) * MASK_OPACITY
    picture[inside] = blended.astype(np.uint8)
