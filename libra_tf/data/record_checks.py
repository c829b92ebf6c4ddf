"""What one record of a detection set must hold, whoever wrote it."""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Iterator
from typing import Any

from libra_tf.data.images import MAX_PIXELS

LABELS = "image/object/class/label"
SIDES = ("ymin", "xmin", "ymax", "xmax")
# Boxes are stored as float32 shares of the sides.
ROUNDING = 1e-6
# Of those that conversion reads, what TensorFlow decodes.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF")


def parse(content: bytes) -> Any | None:
    """Returns the features of a serialised `tf.train.Example`; None if it is none."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        return tf.train.Example.FromString(content).features.feature
    except DecodeError:
        return None


def source_id(features: Any) -> str:
    """Returns the id of the picture, as text; empty where there is none."""
    values = features["image/source_id"].bytes_list.value
    return values[0].decode("utf-8", "backslashreplace") if values else ""


def labels(features: Any) -> list[int]:
    """Returns the class ids of the objects."""
    return list(features[LABELS].int64_list.value)


def picture_problem(features: Any) -> str | None:
    """Returns what is wrong with the picture: it is decoded as training decodes it."""
    import tensorflow as tf
    from PIL import Image

    values = features["image/encoded"].bytes_list.value
    if len(values) != 1 or not values[0]:
        return "has no picture (image/encoded)"
    try:
        with Image.open(io.BytesIO(values[0]), formats=FORMATS) as picture:
            width, height = picture.size
    except Exception as error:  # Pillow's readers raise whatever the bytes provoke.
        return f"its picture cannot be decoded ({_one_line(error)})"
    if width * height > MAX_PIXELS:
        return f"its picture of {width}x{height} has more than {MAX_PIXELS} pixels"
    try:
        tf.io.decode_image(values[0], channels=3, expand_animations=False)
    except tf.errors.OpError as error:
        return f"its picture cannot be decoded ({_one_line(error)})"
    return None


def size_problem(features: Any) -> str | None:
    """Returns what is wrong with the size that a record tells of its picture."""
    from PIL import Image

    (data,) = features["image/encoded"].bytes_list.value
    with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
        width, height = picture.size
    told = tuple(_number(features[f"image/{k}"]) for k in ("width", "height"))
    if told == (width, height):
        return None
    return f"its picture is {width}x{height}, but it says {told[0]}x{told[1]}"


def object_problems(
    features: Any, class_ids: Collection[int], masks: bool
) -> Iterator[str]:
    """Yields what is wrong with the objects.

    Args:
        features: of the record.
        class_ids: those that there are.
        masks: whether each object must have one.
    """
    found = labels(features)
    sides = [features[f"image/object/bbox/{s}"].float_list.value for s in SIDES]
    if any(len(side) != len(found) for side in sides):
        yield f"has {len(found)} labels, but {len(sides[0])} boxes"
        return
    for number, (label, *box) in enumerate(zip(found, *sides, strict=True), start=1):
        if label not in class_ids:
            yield f"object {number}: class {label} is not among the classes"
        ymin, xmin, ymax, xmax = box
        inside = min(box) >= -ROUNDING and max(box) <= 1 + ROUNDING
        is_box = all(map(math.isfinite, box)) and ymin < ymax and xmin < xmax
        if not (is_box and inside):
            yield f"object {number}: {[round(x, 6) for x in box]} is no box in 0..1"
    count = len(features["image/object/mask"].bytes_list.value)
    if masks and count != len(found):
        yield f"has {len(found)} objects, but {count} masks"


def _number(feature: Any) -> int:
    values = feature.int64_list.value
    return values[0] if values else 0


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:150]
