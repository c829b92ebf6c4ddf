"""Which image bytes TensorFlow reads as they are, and how the others are rewritten."""

from __future__ import annotations

import io
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from libra_tf.data.depth import PNG_DEPTH_BYTE, is_deep, to_eight_bits
from libra_tf.data.exif import PNG_START, UPRIGHT, turn_upright
from libra_tf.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

LOSSY = ("JPEG", "MPO", "WEBP")
JPEG_QUALITY = 95
# A JPEG marker; FF 00 is a byte of pixels and FF D0 to D7 restart inside a scan.
JPEG_MARKER = re.compile(rb"\xff+([^\x00\x01\xd0-\xd7\xff])")
JPEG_END = 0xD9
PNG_COLOUR_BYTE = 25
# Length and name, width and height, depth and colour, then compression, filter and
# interlacing: of each there is 0 only, and of the last 1.
PNG_HEADER = re.compile(rb"\0\0\0\rIHDR.{8}..\0\0[\0\1]", re.DOTALL)
PNG_END = b"IEND"


@dataclass(frozen=True)
class EncodedImage:
    """An image file's bytes as `tf.io.decode_image` reads them.

    Attributes:
        data: the bytes.
        format: "jpeg" or "png".
        findings: the rules of `rules.RULES` by which they differ from the file.
    """

    data: bytes
    format: str
    findings: tuple[str, ...] = ()


def is_complete(data: bytes, format: str | None) -> bool:
    """Whether a JPEG or PNG has its end mark; TensorFlow refuses one without.

    Pillow does not mind when only the last bytes are missing, nor what the parts of a
    PNG are called and whether their lengths and checksums are right.
    """
    if format == "PNG":
        return _has_sound_chunks(data)
    if format not in ("JPEG", "MPO"):
        return True
    match = JPEG_MARKER.search(data, 2)
    while match and match[1][0] != JPEG_END:
        length = int.from_bytes(data[match.end() : match.end() + 2], "big")
        match = JPEG_MARKER.search(data, match.end() + length)
    return match is not None


def _has_sound_chunks(data: bytes) -> bool:
    """Whether a PNG is a known header and chunks with right checksums up to its end."""
    at = len(PNG_START)
    if not PNG_HEADER.match(data, at):
        return False
    while at + 12 <= len(data):
        content_end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        name = data[at + 4 : at + 8]
        checksum = int.from_bytes(data[content_end : content_end + 4], "big")
        is_whole = content_end + 4 <= len(data) and name.isalpha()
        if not is_whole or zlib.crc32(data[at + 4 : content_end]) != checksum:
            return False
        if name == PNG_END:
            return True
        at = content_end + 4
    return False


def passes(picture: Image, data: bytes) -> bool:
    """Whether `tf.io.decode_image` gives the same pixels without our help."""
    if picture.format == "PNG":
        gray_or_rgb = data[PNG_COLOUR_BYTE] in (0, 2)
        opaque = "transparency" not in picture.info
        return data[PNG_DEPTH_BYTE] == 8 and gray_or_rgb and opaque
    return picture.format in ("JPEG", "MPO") and picture.mode in ("L", "RGB")


def transcode(
    picture: Image,
    data: bytes,
    path: Path,
    orientation: int = UPRIGHT,
    finding: str | None = None,
) -> EncodedImage:
    """Returns a decoded picture as RGB without EXIF; JPEG where it was lossy, else PNG.

    Args:
        picture: decoded.
        data: of its file.
        path: of the file, for messages.
        orientation: EXIF's, by which the picture is turned.
        finding: a rule that it has met already, see `EncodedImage`.
    """
    rgb, depth = to_rgb(picture, data, path, orientation)
    findings = tuple(rule for rule in (finding, depth) if rule)
    buffer = io.BytesIO()
    if picture.format in LOSSY:
        rgb.save(buffer, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
        return EncodedImage(buffer.getvalue(), "jpeg", findings)
    rgb.save(buffer, format="PNG")
    return EncodedImage(buffer.getvalue(), "png", findings)


def to_rgb(
    picture: Image, data: bytes, path: Path, orientation: int = UPRIGHT
) -> tuple[Image, str | None]:
    """Returns a decoded picture in 8 bits a channel, turned as `orientation` says.

    Also returns the rule of `rules.RULES` by which its depth was found; None where the
    file tells it.

    Raises:
        UserError: it cannot be told what white is.
    """
    from PIL import Image

    if picture.mode in ("I", "F"):
        raise UserError(
            f"{path}: pixels of kind {picture.mode} (32 bits) have no fixed range; "
            "save the image with 8 bits a channel"
        )
    if not is_deep(picture, data):
        return turn_upright(picture, orientation).convert("RGB"), None
    pixels, guessed = to_eight_bits(picture, data, path)
    shallow = Image.fromarray(pixels)
    shallow.format = picture.format  # tells who turns it
    upright = turn_upright(shallow, orientation).convert("RGB")
    return upright, "depths" if guessed else None
