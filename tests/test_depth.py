"""data.depth and ops.depth: 16-bit files of 10, 12 and 14 bits are not dark."""

import io
import struct
import zlib

import numpy as np
import pytest
import small_sets
import tensorflow as tf
from PIL import Image

from libra_tf.commands.main import main
from libra_tf.data.images import read_image
from libra_tf.data.records import ImageRecord
from libra_tf.inference.encoded_images import decode_upright
from libra_tf.inference.images import read_rgb

HEIGHT, WIDTH = 3, 4


def chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(pixels, declared=None):
    """A PNG of 16 bits, [H, W] grey or [H, W, 3]; with the chunk sBIT or without."""
    colour = 2 if pixels.ndim == 3 else 0
    size = pixels.shape[1], pixels.shape[0]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 16, colour, 0, 0, 0))
    if declared is not None:
        head += chunk(b"sBIT", bytes(declared))
    body = head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(pixels, **tags):
    buffer = io.BytesIO()
    numbers = {int(key[1:]): value for key, value in tags.items()}
    Image.fromarray(pixels).save(buffer, format="TIFF", tiffinfo=numbers)
    return buffer.getvalue()


def ramp(highest, *channels):
    shape = (HEIGHT, WIDTH, *channels)
    return np.linspace(0, highest, np.prod(shape)).astype(np.uint16).reshape(shape)


CASES = {
    "12 bits": (png(ramp(4095)), 4, "depths"),
    "12 bits, colours": (png(ramp(4095, 3)), 4, "depths"),
    "10 bits": (png(ramp(1023)), 2, "depths"),
    "14 bits": (png(ramp(9000)), 6, "depths"),
    "8 bits": (png(ramp(255)), 0, "depths"),
    "16 bits": (png(ramp(65535)), 8, None),
    "16 bits, colours": (png(ramp(20000, 3)), 8, None),
    "dark, of 12 declared bits": (png(ramp(900), [12]), 4, None),
    "dark, of 16 declared bits": (png(ramp(900, 3), [16, 16, 16]), 8, None),
    "12 bits as the upper ones": (png(ramp(65520), [12]), 8, None),
    "one more than 10 bits hold": (png(ramp(1024)), 4, "depths"),
    "no bits are declared": (png(ramp(4095), []), 8, None),
    "nonsense is declared": (png(ramp(4095), [200]), 8, None),
    "black": (png(ramp(0)), 0, "depths"),
}
TIFFS = {
    "tiff of 12 bits": (tiff(ramp(4095)), 4, "depths"),
    "dark tiff of 12 declared bits": (tiff(ramp(900), t281=4095), 4, None),
    "dark tiff of 16 declared bits": (tiff(ramp(900), t281=65535), 8, None),
}


def values(data):
    return np.array(Image.open(io.BytesIO(data)), np.uint16)


def expected(name):
    data, shift, _ = {**CASES, **TIFFS}[name]
    grey = values(data)
    if grey.ndim == 3:  # Pillow has the upper 8 bits only.
        import cv2

        grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        return (grey[..., ::-1] >> shift).astype(np.uint8)
    return np.repeat((grey >> shift)[..., np.newaxis], 3, -1).astype(np.uint8)


@pytest.mark.parametrize("name", [*CASES, *TIFFS])
def test_converter_and_predict_scale_by_the_bits_in_use(tmp_path, name):
    data, _, rule = {**CASES, **TIFFS}[name]
    (tmp_path / "a.png").write_bytes(data)
    encoded = read_image(tmp_path, ImageRecord(1, "a.png", WIDTH, HEIGHT))
    decoded = tf.io.decode_image(encoded.data, channels=3).numpy()
    np.testing.assert_array_equal(decoded, expected(name))
    assert encoded.findings == ((rule,) if rule else ())
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.png"), expected(name))


def test_the_graph_of_a_saved_model_scales_alike():
    serve = tf.function(decode_upright, input_signature=[tf.TensorSpec([], tf.string)])
    for name, (data, _, _) in CASES.items():
        image = serve(tf.constant(data)).numpy()
        np.testing.assert_array_equal(image, expected(name), name)


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_colours_of_16_bits_are_turned(tmp_path, kind, tag):
    pixels = ramp(60000, 3)
    if kind == "png":
        exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + bytes([tag, 0, 0])
        data = png(pixels).replace(b"\0\0\0\0IEND", chunk(b"eXIf", exif) + b"\0" * 4
                                   + b"IEND", 1)  # fmt: skip
    else:
        import cv2

        flags = [cv2.IMWRITE_TIFF_COMPRESSION, 1]
        data = cv2.imencode(".tiff", pixels[..., ::-1], flags)[1].tobytes()
        data = with_orientation(data, tag)
    (tmp_path / "a.img").write_bytes(data)
    upright = (pixels >> 8).astype(np.uint8)
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(upright).save(buffer, format="PNG", exif=exif)
    (tmp_path / "b.img").write_bytes(buffer.getvalue())
    wanted = read_rgb(tmp_path / "b.img")
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.img"), wanted)


def with_orientation(data, tag):
    """Adds the tag to an uncompressed TIFF of little order, in a new directory."""
    first = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[first : first + 2], "little")
    entries = [data[first + 2 + 12 * k :][:12] for k in range(count)]
    entries = [e for e in entries if e[:2] != b"\x12\x01"]
    entries.append(struct.pack("<HHIHH", 0x0112, 3, 1, tag, 0))
    entries.sort(key=lambda e: int.from_bytes(e[:2], "little"))
    head = data[:4] + struct.pack("<I", len(data)) + data[8:]
    return head + struct.pack("<H", len(entries)) + b"".join(entries) + b"\0" * 4


@pytest.mark.parametrize("strict", [False, True])
def test_a_depth_that_is_guessed_is_said(tmp_path, capsys, strict):
    content = small_sets.coco(tmp_path)
    shape = (small_sets.HEIGHT, small_sets.WIDTH)
    deep = np.random.default_rng(0).integers(0, 4096, shape).astype(np.uint16)
    (tmp_path / "1.png").write_bytes(png(deep))
    path = small_sets.write(tmp_path, content)
    words = ["--images", tmp_path, "--annotations", path, "--split", "train"]
    words += ["--out", tmp_path / "out", "--workers", 1]
    code = main(["data", "convert", *map(str, words), *["--strict"] * strict])
    assert small_sets.is_said("depths", capsys.readouterr().err)
    assert code == (2 if strict else 0)
