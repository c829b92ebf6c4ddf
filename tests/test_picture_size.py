"""ops.picture_size: pixels are counted before they are decoded, of every kind."""

import io
import struct
import zlib

import pytest
import tensorflow as tf
from PIL import Image

from libra_tf.data.images import MAX_PIXELS
from libra_tf.inference.encoded_images import decode_upright, read_image
from libra_tf.ops.picture_size import num_pixels

FRAME = b"\x2c" + struct.pack("<HHHHB", 0, 0, 300, 200, 0) + b"\x02\x02\x4c\x01\0"


def saved(kind, mode="RGB", **options):
    buffer = io.BytesIO()
    picture = Image.effect_noise((37, 23), 50).convert(mode)
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def top_down_bmp():
    data = bytearray(saved("BMP"))
    data[22:26] = struct.pack("<i", -23)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        saved("PNG"), saved("JPEG"), saved("JPEG", progressive=True), saved("GIF", "L"),
        saved("BMP"), top_down_bmp(), saved("WEBP"), saved("WEBP", lossless=True),
        saved("WEBP", "RGBA"), saved("WEBP", exif=b"Exif\0\0II*\0"),
    ],
)  # fmt: skip
def test_the_pixels_of_each_kind(data):
    assert num_pixels(tf.constant(data)) == 37 * 23
    assert read_image(tf.constant(data))[1]


def test_every_frame_of_a_gif_counts():
    """The decoder unpacks all of them, whatever the size of the screen."""
    data = saved("GIF", "L")
    end = data.rindex(b";")
    assert num_pixels(tf.constant(data[:end] + FRAME + b";")) == 37 * 23 + 300 * 200


def test_what_is_no_picture_has_none():
    for data in (b"", b"GIF8", b"RIFF", b"BM", b"hello" * 9):
        assert num_pixels(tf.constant(data)) == 0


@pytest.fixture(scope="module")
def bomb():
    """A PNG of 16000x16000 black pixels that is whole, in less than a megabyte."""
    side = 16_000

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + 3 * side)) for _ in range(side))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    body = head + chunk(b"IDAT", rows + packer.flush()) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_bomb_is_answered_as_a_corrupt_picture(bomb):
    """Its header says enough; decoded, it would have 768 MB."""
    assert len(bomb) < 1_000_000
    assert num_pixels(tf.constant(bomb)) == 16_000**2 > MAX_PIXELS
    image, is_readable = read_image(tf.constant(bomb))
    assert not is_readable
    assert image.shape == (1, 1, 3)


@pytest.mark.parametrize("more", [0, 1])
def test_the_largest_picture_and_one_that_is_larger(more):
    """The header of a PNG of 10,000 x 5,000 pixels, or a line more, without pixels."""
    data = bytearray(saved("PNG"))
    data[16:24] = struct.pack(">II", 10_000, MAX_PIXELS // 10_000 + more)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        decode_upright(tf.constant(bytes(data)))
    assert ("x <= y" in str(caught.value)) == bool(more), caught.value
