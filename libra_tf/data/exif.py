"""Which way up a picture file says it is.

`libra_tf.ops.exif` reads the same inside a SavedModel: whatever changes here changes
there. Pillow would ask XMP too, which no browser and no camera's viewer does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.Image import Image

UPRIGHT = 1
# The tags by which a picture is not turned or mirrored as it should be.
TURNED = range(2, 9)
# Those by which width and height change places.
SIDEWAYS = range(5, 9)
TAG = 0x0112
# Parts of a file that are looked at; a picture has some tens.
MAX_PARTS = 10_000
PNG_START = b"\x89PNG\r\n\x1a\n"
TIFF_STARTS = (b"II*\0", b"MM\0*")
EXIF_START = b"Exif\0\0"
# Bytes of the types of TIFF that a number may have: byte, short, long.
SIZES = {1: 1, 3: 2, 4: 4}

Order = Literal["little", "big"]


def read_orientation(data: bytes) -> int:
    """Returns the EXIF orientation of a JPEG, PNG, WebP or TIFF file, 1 to 8.

    1, upright, where there is no tag, or one that cannot be understood.
    """
    start = _find_block(data)
    if start is None:
        return UPRIGHT
    if data[start : start + 6] == EXIF_START:
        start += 6
    value = _read_tag(data, start)
    return value if value in TURNED else UPRIGHT


def stored_and_upright(
    picture: Image, orientation: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns width and height of the pixels in the file, and as they are shown."""
    size = picture.size
    turned = size[::-1] if orientation in SIDEWAYS else size
    return (turned, size) if _is_turned_by_pillow(picture) else (size, turned)


def turn_upright(picture: Image, orientation: int) -> Image:
    """Returns the picture as its tag says that it should be shown."""
    from PIL.Image import Transpose

    if _is_turned_by_pillow(picture):
        return picture
    ways = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return picture.transpose(ways[orientation]) if orientation in ways else picture


def _is_turned_by_pillow(picture: Image) -> bool:
    return picture.format == "TIFF"


def _find_block(data: bytes) -> int | None:
    """Where the EXIF data begin."""
    if data[:2] == b"\xff\xd8":
        return _find_in_jpeg(data)
    if data[:4] in TIFF_STARTS:
        return 0
    if data[:8] == PNG_START:
        return find_chunk(data, 8, b"eXIf", "big")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return find_chunk(data, 12, b"EXIF", "little")
    return None


def _find_in_jpeg(data: bytes) -> int | None:
    at = 2
    for _ in range(MAX_PARTS):
        marker = _number(data, at + 1, 1)
        if _number(data, at, 1) != 0xFF or marker in (0x00, 0xD9, 0xDA):
            return None
        if marker == 0xE1 and data[at + 4 : at + 10] == EXIF_START:
            return at + 4
        if marker == 0xFF:  # fills
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:  # stand alone
            at += 2
        else:
            at += 2 + _number(data, at + 2, 2)
    return None


def find_chunk(data: bytes, at: int, name: bytes, order: Order) -> int | None:
    """Returns where the content of a chunk of PNG or WebP begins; None without it.

    Args:
        data: of the file.
        at: where its first chunk begins.
        name: of the chunk.
        order: "big" for PNG (length, name, content, checksum), "little" for WebP (name,
            length, content).
    """
    is_png = order == "big"
    for _ in range(MAX_PARTS):
        if at >= len(data):
            return None
        size = _number(data, at if is_png else at + 4, 4, order)
        first = at + 4 if is_png else at
        if data[first : first + 4] == name:
            return at + 8
        at += 12 + size if is_png else 8 + size + size % 2
    return None


def _read_tag(data: bytes, start: int) -> int:
    """The orientation in the first directory of a TIFF that begins at `start`."""
    orders: dict[bytes, Order] = {b"II": "little", b"MM": "big"}
    order = orders.get(data[start : start + 2])
    if order is None or _number(data, start + 2, 2, order) != 42:
        return UPRIGHT
    first = start + _number(data, start + 4, 4, order)
    value = UPRIGHT
    for k in range(_number(data, first, 2, order)):
        at = first + 2 + 12 * k
        if at >= len(data):
            break
        kind = _number(data, at + 2, 2, order)
        is_one = _number(data, at + 4, 4, order) == 1
        if _number(data, at, 2, order) == TAG and is_one and kind in SIZES:
            value = _number(data, at + 8, SIZES[kind], order)
    return value


def _number(data: bytes, at: int, size: int, order: Order = "big") -> int:
    """Whole number in the file; bytes after its end are 0."""
    return int.from_bytes(data[at : at + size].ljust(size, b"\0"), order)
