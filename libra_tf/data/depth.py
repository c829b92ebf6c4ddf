"""Pictures of more than 8 bits: how many of 16 are used, and scaling to 8.

Cameras give 10, 12 or 14 bits, which programs store in 16: scaled as 16 bits they would
be all but black. `libra_tf.ops.depth` does the same inside a SavedModel: whatever
changes here changes there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from libra_tf.data.exif import PNG_START, find_chunk
from libra_tf.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from PIL.Image import Image

# What is assumed where the file does not declare its depth.
DEPTHS = (8, 10, 12, 14, 16)
FULL = 16
SIGNIFICANT_BITS = b"sBIT"
PNG_DEPTH_BYTE = 24
BITS_PER_SAMPLE, MAX_SAMPLE_VALUE = 258, 281
COLOUR_MODES = ("RGB", "RGBA", "RGBX", "LA")


def is_deep(picture: Image, data: bytes) -> bool:
    """Whether a picture has whole numbers of 9 to 16 bits a channel.

    Args:
        picture: opened.
        data: of its file.
    """
    if picture.mode.startswith("I;16"):
        return True
    if picture.mode not in COLOUR_MODES:
        return False
    if picture.format == "PNG":
        return data[PNG_DEPTH_BYTE] == FULL
    return picture.format == "TIFF" and max(_tag(picture, BITS_PER_SAMPLE)) == FULL


def declared_bits(picture: Image, data: bytes) -> int | None:
    """Returns the bits that a deep picture declares; None where it does not.

    By the chunk sBIT of a PNG; by MaxSampleValue or BitsPerSample of a TIFF.
    """
    if picture.format == "PNG":
        start = find_chunk(data, len(PNG_START), SIGNIFICANT_BITS, "big")
        if start is None:
            return None
        size = int.from_bytes(data[start - 8 : start - 4], "big")
        return max(data[start : start + min(size, 4)], default=FULL)
    declared = max(_tag(picture, MAX_SAMPLE_VALUE))
    if declared:
        return declared.bit_length()
    bits = max(_tag(picture, BITS_PER_SAMPLE))
    return bits if 0 < bits < FULL else None


def used_bits(brightest: int, declared: int | None) -> int:
    """Returns the bits that a picture is scaled by, 8 to 16.

    Args:
        brightest: highest value of its pixels.
        declared: see `declared_bits`. A file may declare 12 bits and have them as the
            upper ones of 16, as PNG wants it; its pixels tell.
    """
    if declared is not None:
        bits = min(max(declared, DEPTHS[0]), FULL)
        return bits if brightest < 2**bits else FULL
    return next(bits for bits in DEPTHS if brightest < 2**bits)


def to_eight_bits(
    picture: Image, data: bytes, path: Path
) -> tuple[np.ndarray, int | None]:
    """Scales a deep picture by the bits that it uses.

    Args:
        picture: decoded.
        data: of its file.
        path: of the file, for messages.

    Returns:
        uint8 [H, W] or [H, W, 3], the way round that `picture` has; and the bits where
        they are fewer than 16 and nothing but the pixels tells them, else None.

    Raises:
        UserError: its colours are stored in a way that is not read.
    """
    import numpy as np

    pixels = _deep_pixels(picture, data, path)
    declared = declared_bits(picture, data)
    bits = used_bits(int(pixels.max(initial=0)), declared)
    guessed = bits if declared is None and bits < FULL else None
    return (pixels >> (bits - DEPTHS[0])).astype(np.uint8), guessed


def _deep_pixels(picture: Image, data: bytes, path: Path) -> np.ndarray:
    import numpy as np

    if picture.mode.startswith("I;16"):
        return np.asarray(picture).astype(np.uint16)
    # Pillow gives the upper 8 bits of colours only.
    import cv2

    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    size = None if pixels is None else pixels.shape[1::-1]
    if pixels is None or pixels.dtype != np.uint16 or size != picture.size:
        raise UserError(
            f"{path}: its colours of 16 bits cannot be read; save the image with 8 "
            "bits a channel"
        )
    return pixels[:, :, ::-1]


def _tag(picture: Image, tag: int) -> tuple[int, ...]:
    """Values of a TIFF's tag that holds whole numbers; (0,) where it is not there."""
    value = getattr(picture, "tag_v2", {}).get(tag, 0)
    values = value if isinstance(value, tuple) else (value,)
    return tuple(v for v in values if isinstance(v, int)) or (0,)
