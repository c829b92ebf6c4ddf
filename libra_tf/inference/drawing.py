"""Pictures of detections: boxes by keras-cv, labels by Pillow.

The labels of keras-cv have no background and go under the boxes drawn after them;
on a crowded image they cannot be read.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from libra_tf.errors import UserError
from libra_tf.files.json_files import write_file

# Small images are enlarged before drawing, so that names and scores can be read.
SHORT_SIDE = 480
LONG_SIDE = 4096
# Bright, so that black text can be read on them.
COLORS = (
    (255, 214, 0),
    (0, 230, 118),
    (64, 196, 255),
    (255, 145, 0),
    (234, 128, 252),
    (255, 255, 255),
    (118, 255, 3),
    (255, 82, 82),
)
MASK_OPACITY = 0.4
# Of labels, in pixels.
LABEL_SIZE, PADDING = 13, 2


def draw_detections(
    image: np.ndarray,
    boxes: np.ndarray,
    classes: np.ndarray,
    scores: np.ndarray,
    class_names: Mapping[int, str],
    *,
    threshold: float = 0.5,
    masks: np.ndarray | None = None,
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

    Returns:
        uint8 [H', W', 3]; an image whose short side is below 480 pixels is enlarged.
    """
    picture, scale = _enlarge(np.asarray(image, np.uint8))
    order = np.argsort(scores, kind="stable")
    order = order[np.asarray(scores)[order] >= threshold]
    if masks is not None:
        for k in order:
            _paint(picture, masks[k], _color(classes[k]))
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4) * scale
    for k in order:
        picture = _draw_box(picture, boxes[k], _color(classes[k]))
    labels = []
    for k in order:
        name = class_names.get(int(classes[k]), str(int(classes[k])))
        labels.append((f"{name} {scores[k]:.2f}", boxes[k], _color(classes[k])))
    return _write_labels(picture, labels)


def save_image(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] as the type that the file's ending names, in one step."""
    from PIL import Image

    buffer = io.BytesIO()
    kind = Image.registered_extensions().get(Path(path).suffix.lower())
    if kind not in Image.SAVE:
        raise UserError(f"{path}: unknown kind of picture; name it .jpg or .png")
    Image.fromarray(image).save(buffer, format=kind)
    write_file(path, buffer.getvalue())


def _enlarge(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns a copy of at least `SHORT_SIDE` pixels, and its scale."""
    from PIL import Image

    height, width = image.shape[:2]
    scale = max(1.0, SHORT_SIDE / min(height, width))
    scale = max(1.0, min(scale, LONG_SIDE / max(height, width)))
    size = (round(width * scale), round(height * scale))
    enlarged = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    return np.array(enlarged), scale


def _color(class_id: int) -> tuple[int, int, int]:
    return COLORS[int(class_id) % len(COLORS)]


def _paint(picture: np.ndarray, mask: np.ndarray, color: tuple[int, int, int]) -> None:
    from PIL import Image

    height, width = picture.shape[:2]
    resized = Image.fromarray(np.asarray(mask, np.uint8) * 255).resize((width, height))
    inside = np.asarray(resized) > 127
    blended = picture[inside] * (1 - MASK_OPACITY) + np.array(color) * MASK_OPACITY
    picture[inside] = blended.astype(np.uint8)


def _draw_box(
    picture: np.ndarray, box: np.ndarray, color: tuple[int, int, int]
) -> np.ndarray:
    import matplotlib

    # keras-cv imports pyplot, which would look for a screen.
    matplotlib.use("Agg")
    # Its greeting would stand among the JSON that goes to standard output.
    with contextlib.redirect_stdout(io.StringIO()):
        from keras_cv import visualization

    drawn = visualization.draw_bounding_boxes(
        picture[np.newaxis],
        {"boxes": box[np.newaxis, np.newaxis], "classes": np.zeros((1, 1))},
        color=color,
        bounding_box_format="yxyx",
        line_thickness=max(2, min(picture.shape[:2]) // 160),
    )
    return drawn[0].astype(np.uint8)


def _write_labels(picture: np.ndarray, labels: list[tuple]) -> np.ndarray:
    """Writes (text, box, colour) above the boxes' upper left corners, in the image."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=max(LABEL_SIZE, min(image.size) // 36))
    for text, (top, left, _, _), color in labels:
        _, _, width, height = draw.textbbox((PADDING, PADDING), text, font=font)
        width, height = width + PADDING, height + PADDING
        x = max(0, min(int(left), image.width - width))
        y = max(0, min(int(top) - height, image.height - height))
        draw.rectangle((x, y, x + width, y + height), fill=color, outline="black")
        draw.text((x + PADDING, y + PADDING), text, fill="black", font=font)
    return np.array(image)


def decode_masks(encodings: list[dict[str, Any]] | None) -> np.ndarray | None:
    """Returns [K, H, W] uint8 from COCO run-length encodings; None for None."""
    if not encodings:
        return None
    return np.stack([coco_mask.decode(encoding) for encoding in encodings])
