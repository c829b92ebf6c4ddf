"""COCO segmentations: check them, and draw them as PNG masks.

Run lengths are decoded here and not by pycocotools, whose C code trusts the counts
it is given; polygons are rasterised by pycocotools, so that the masks a model is
trained on are the masks that COCO's evaluation compares with.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from libra_tf.data.findings import Findings
from libra_tf.data.records import Annotation, Bbox, ImageRecord, Segmentation
from libra_tf.errors import UserError

# Fewer numbers are a point or a line; pycocotools would read four as a box.
MIN_POLYGON_NUMBERS = 6
# In square pixels: what rounding leaves of the area of a line.
FLAT_AREA = 1e-6

_Point = tuple[float, float]


def check_segmentation(
    value: Any,
    width: int,
    height: int,
    where: str,
    findings: Findings,
    name: object,
) -> Segmentation | None:
    """Returns a checked segmentation, or None where it outlines nothing.

    Args:
        value: what stands under `segmentation` in a COCO file.
        width: width of the image in pixels.
        height: height of the image in pixels.
        where: file and annotation, for the message.
        findings: counts polygons without area beside others.
        name: of the annotation, for `findings`.

    Raises:
        UserError: the value is neither polygons nor run lengths of this image.
    """
    if not value:
        return None
    if isinstance(value, list):
        kept = [p for p in value if _is_polygon(p, width, height, where)]
        if 0 < len(kept) < len(value):
            findings.add("flat_parts", name)
        return kept or None
    if not isinstance(value, dict) or not {"size", "counts"} <= value.keys():
        raise UserError(
            f"{where}: segmentation is neither a list of polygons nor run lengths "
            "with size and counts; mend or remove it"
        )
    if value["size"] != [height, width]:
        raise UserError(
            f"{where}: segmentation size {value['size']} is not the image's "
            f"[height, width] {[height, width]}; mend it"
        )
    return {"size": [height, width], "counts": value["counts"]}


def check_mask(value: Any, width: int, height: int, where: str) -> None:
    """Checks a segmentation that is compared as it is, see `check_segmentation`.

    Raises:
        UserError: also for run lengths that do not fill the image exactly, and polygons
            of fewer than three points.
    """
    check_segmentation(value, width, height, where, Findings(), where)
    if isinstance(value, dict):
        counts = value["counts"]
        counts = counts.decode("latin-1") if isinstance(counts, bytes) else counts
        if not all(type(side) is int for side in value["size"]):
            raise UserError(
                f"{where}: segmentation size {value['size']} must be whole numbers; "
                "mend it"
            )
        _run_lengths(counts, height, width, where)
    elif any(len(polygon) < MIN_POLYGON_NUMBERS for polygon in value):
        raise UserError(
            f"{where}: a polygon in segmentation has fewer than three points; mend it"
        )


def _is_polygon(polygon: Any, width: int, height: int, where: str) -> bool:
    """Whether the polygon has an inside; raises where it is no polygon at all."""
    try:
        finite = all(map(math.isfinite, polygon))
        even = len(polygon) % 2 == 0
    except (TypeError, OverflowError):
        finite = even = False
    if not finite or not even:
        raise UserError(
            f"{where}: a polygon in segmentation is not an even list of finite "
            "numbers [x0, y0, x1, y1, ...]; mend or remove it"
        )
    if len(polygon) < MIN_POLYGON_NUMBERS:
        return False
    # The rasteriser's memory grows with the length of the outline.
    for points, side in ((polygon[::2], width), (polygon[1::2], height)):
        if min(points) < -side or max(points) > 2 * side:
            raise UserError(
                f"{where}: a polygon in segmentation lies more than a whole image "
                "outside the image; mend or remove it"
            )
    return polygon_area(polygon) >= FLAT_AREA


def polygon_area(polygon: Sequence[float]) -> float:
    """Returns the area in square pixels: half the sum of the cross products."""
    left, top = polygon[0], polygon[1]  # From a corner: less rounding.
    cross = (
        (x - left) * (v - top) - (u - left) * (y - top)
        for (x, y), (u, v) in polygon_sides(polygon)
    )
    return abs(math.fsum(cross)) / 2


def polygon_length(polygon: Sequence[float]) -> float:
    """Returns the length of the outline in pixels."""
    return sum(math.dist(*side) for side in polygon_sides(polygon))


def polygon_sides(polygon: Sequence[float]) -> Iterator[tuple[_Point, _Point]]:
    """Yields both ends of every side; plain Python, since most have few."""
    points = list(zip(polygon[::2], polygon[1::2], strict=True))
    return zip(points, points[1:] + points[:1], strict=True)


def mask_area(
    segmentation: Segmentation, height: int, width: int, where: str = "mask"
) -> int:
    """Returns the number of pixels that `draw_mask` would set, mostly undrawn."""
    if isinstance(segmentation, dict):
        return sum(_run_lengths(segmentation["counts"], height, width, where)[1::2])
    from pycocotools import mask as coco_mask

    runs = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    return int(coco_mask.area(runs))


def box_polygon(bbox: Bbox) -> Segmentation:
    """Returns the outline of a box, for objects without a segmentation."""
    x, y, width, height = bbox
    right, bottom = x + width, y + height
    return [[x, y, right, y, right, bottom, x, bottom]]


def mask_png(image: ImageRecord, annotation: Annotation) -> bytes:
    """Returns the object's mask, 0 and 1, of the image's size, as PNG bytes."""
    from PIL import Image

    where = f"{image}: annotation {annotation.id}"
    if annotation.segmentation is None:
        raise ValueError(f"{where}: has no segmentation")
    mask = draw_mask(annotation.segmentation, image.height, image.width, where)
    buffer = io.BytesIO()
    # Run lengths suit masks: half the time of the default, and smaller.
    Image.fromarray(mask).save(buffer, format="PNG", compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def draw_mask(
    segmentation: Segmentation, height: int, width: int, where: str = "mask"
) -> np.ndarray:
    """Draws a segmentation.

    Returns:
        uint8 [height, width], 1 inside.

    Raises:
        UserError: run lengths that do not fill the image exactly.
    """
    if isinstance(segmentation, dict):
        size = list(segmentation.get("size", (height, width)))
        if size != [height, width]:
            raise UserError(
                f"{where}: segmentation is of {size}, the picture upright of "
                f"{[height, width]} (height, width); turn it, or write polygons"
            )
        return _draw_runs(segmentation["counts"], height, width, where)
    from pycocotools import mask as coco_mask

    runs = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    return _draw_runs(runs["counts"].decode(), height, width, where)


def _draw_runs(counts: Any, height: int, width: int, where: str) -> np.ndarray:
    counts = _run_lengths(counts, height, width, where)
    values: np.ndarray = np.arange(len(counts), dtype=np.uint8) % 2
    # COCO runs down the columns.
    return np.ascontiguousarray(np.repeat(values, counts).reshape(width, height).T)


def _run_lengths(counts: Any, height: int, width: int, where: str) -> list[int]:
    if isinstance(counts, str):
        counts = decompress_counts(counts)
    whole = isinstance(counts, list) and all(type(n) is int for n in counts)
    if not whole or min(counts, default=-1) < 0 or sum(counts) != height * width:
        raise UserError(
            f"{where}: the run lengths in segmentation do not add up to the "
            f"{height}x{width} pixels of the image; mend or remove it"
        )
    return counts


def decompress_counts(text: str) -> list[int]:
    """Returns the run lengths of COCO's compressed string; [] where it is broken.

    Each number is written in groups of five bits, lowest first, a sixth bit telling
    whether more follow; from the fourth number on it is the difference to the number
    two before.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            return []
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    return counts if shift == 0 else []
