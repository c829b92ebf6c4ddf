"""Image files: hostile ones are refused by name, odd ones become RGB."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from libra_tf.data.images import find_image, read_image, read_size
from libra_tf.data.records import ImageRecord
from libra_tf.errors import UserError

WIDTH, HEIGHT = 48, 32


def picture(mode="RGB"):
    """A smooth picture, so that JPEG changes little."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.stack([x * 5, y * 7, (x + y) * 3], axis=-1).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def save(tmp_path, name, image=None, **options):
    (image or picture()).save(tmp_path / name, **options)
    return name


def read(tmp_path, name, width=WIDTH, height=HEIGHT, **options):
    return read_image(tmp_path, ImageRecord(17, name, width, height), **options)


def refused(tmp_path, name, *words, **options):
    """Sees that the file is refused in one line with its id, name and `words`."""
    with pytest.raises(UserError) as error:
        read(tmp_path, name, **options)
    text = str(error.value)
    assert "\n" not in text
    for word in ("image 17", os.path.basename(name), *words):
        assert word in text


def decoded(encoded):
    return tf.io.decode_image(encoded.data, channels=3).numpy()


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("a.jpg", "RGB", {}),
        ("a.jpg", "RGB", {"progressive": True}),
        ("a.jpg", "L", {}),
        ("a.png", "RGB", {}),
        ("a.png", "L", {}),
    ],
)
def test_plain_files_pass_unchanged(tmp_path, name, mode, options):
    save(tmp_path, name, picture(mode), **options)
    encoded = read(tmp_path, name)
    assert encoded.data == (tmp_path / name).read_bytes()
    assert encoded.format == {"jpg": "jpeg", "png": "png"}[name[-3:]]
    expected = np.asarray(Image.open(tmp_path / name).convert("RGB"), int)
    assert np.abs(decoded(encoded) - expected).max() <= 3  # Two JPEG decoders.


@pytest.mark.parametrize(
    ("name", "mode", "tolerance"),
    [
        ("a.bmp", "RGB", 0),
        ("a.gif", "P", 60),  # 256 colours.
        ("a.tiff", "RGB", 0),
        ("a.png", "P", 60),
        ("a.png", "RGBA", 0),
        ("a.png", "1", 255),
        ("a.webp", "RGB", 30),
        ("a.jpg", "CMYK", 12),
    ],
)
def test_odd_files_become_rgb(tmp_path, name, mode, tolerance):
    save(tmp_path, name, picture(mode))
    encoded = read(tmp_path, name)
    assert encoded.data != (tmp_path / name).read_bytes()
    pixels = decoded(encoded)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    difference = np.abs(pixels - np.asarray(picture(), int))
    assert difference.max() <= tolerance


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    values = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 40
    save(tmp_path, "a.png", Image.fromarray(values))
    expected = np.repeat((values >> 8)[..., None], 3, axis=-1)
    np.testing.assert_array_equal(decoded(read(tmp_path, "a.png")), expected)


def test_pixels_without_a_range_are_refused(tmp_path):
    save(tmp_path, "a.tiff", Image.new("F", (WIDTH, HEIGHT)))
    refused(tmp_path, "a.tiff", "32 bits")


@pytest.mark.parametrize("name", ["../a.jpg", "x/../../a.jpg", "..\\a.jpg", "a\0.jpg"])
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    inner = tmp_path / "images"
    inner.mkdir()
    save(tmp_path, "a.jpg")
    with pytest.raises(UserError, match="inside the image folder"):
        find_image(inner, name)


def test_absolute_names_are_refused(tmp_path):
    save(tmp_path, "a.jpg")
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match="inside the image folder"):
        find_image(tmp_path / "images", str(tmp_path / "a.jpg"))


def test_links_to_the_outside_are_refused_inside_ones_followed(tmp_path):
    inner = tmp_path / "images"
    inner.mkdir()
    save(tmp_path, "a.jpg")
    save(inner, "b.jpg")
    (inner / "out.jpg").symlink_to(tmp_path / "a.jpg")
    (inner / "in.jpg").symlink_to(inner / "b.jpg")
    with pytest.raises(UserError, match=r"out\.jpg.*outside the image folder"):
        find_image(inner, "out.jpg")
    assert find_image(inner, "in.jpg").name == "b.jpg"


def test_a_sibling_folder_with_the_same_beginning_is_outside(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images2").mkdir()
    save(tmp_path / "images2", "a.jpg")
    (tmp_path / "images" / "a.jpg").symlink_to(tmp_path / "images2" / "a.jpg")
    with pytest.raises(UserError, match="outside"):
        find_image(tmp_path / "images", "a.jpg")


def test_missing_files_and_pipes_are_refused(tmp_path):
    refused(tmp_path, "a.jpg", "cannot be read")
    os.mkfifo(tmp_path / "pipe.jpg")
    refused(tmp_path, "pipe.jpg", "not a regular file")
    (tmp_path / "folder.jpg").mkdir()
    refused(tmp_path, "folder.jpg", "not a regular file")


@pytest.mark.parametrize(
    "content", [b"", b"<html></html>", b"\xff\xd8\xff", b"\x89PNG"]
)
def test_what_is_no_image_is_refused(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    refused(tmp_path, "a.jpg")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("cut", [2, 3, 50, 400])
def test_truncated_jpeg_is_refused(tmp_path, progressive, cut):
    save(tmp_path, "a.jpg", progressive=progressive)
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[:-cut])
    refused(tmp_path, "a.jpg")


@pytest.mark.parametrize("cut", [4, 12, 100])
def test_truncated_png_is_refused(tmp_path, cut):
    # Pillow accepts a PNG without its last chunk, TensorFlow does not.
    save(tmp_path, "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[:-cut])
    refused(tmp_path, "a.png")


def test_bytes_after_the_end_of_a_jpeg_are_fine(tmp_path):
    save(tmp_path, "a.jpg")
    with open(tmp_path / "a.jpg", "ab") as file:
        file.write(b"\xff\xda camera's trailer")
    assert decoded(read(tmp_path, "a.jpg")).shape == (HEIGHT, WIDTH, 3)


def test_preview_inside_a_jpeg_is_not_its_end(tmp_path):
    preview = io.BytesIO()
    picture().resize((8, 8)).save(preview, format="JPEG")
    save(tmp_path, "a.jpg", exif=b"Exif\0\0" + preview.getvalue())
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[:-2])
    refused(tmp_path, "a.jpg", "cut short")


@pytest.mark.parametrize("orientation", [0, 1, 9])
def test_upright_pictures_pass(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path, "a.jpg", exif=exif)
    assert read(tmp_path, "a.jpg").data == (tmp_path / "a.jpg").read_bytes()


def test_wrong_size_names_both_sizes(tmp_path):
    save(tmp_path, "a.jpg")
    refused(tmp_path, "a.jpg", "48x32", "32x48", width=32, height=48)


def chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_bomb_is_refused_by_its_header(tmp_path, side):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")
    (tmp_path / "bomb.png").write_bytes(png + chunk(b"IEND", b""))
    refused(tmp_path, "bomb.png", "pixels", width=side, height=side)


def test_cap_on_pixels_is_inclusive(tmp_path):
    save(tmp_path, "a.png")
    assert read(tmp_path, "a.png", max_pixels=WIDTH * HEIGHT)
    refused(tmp_path, "a.png", "pixels", max_pixels=WIDTH * HEIGHT - 1)


def test_films_are_refused(tmp_path):
    frames = [picture("P"), picture("P").rotate(90)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    refused(tmp_path, "a.gif", "2 frames")


def test_formats_that_start_programs_are_not_opened(tmp_path):
    (tmp_path / "a.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    )
    refused(tmp_path, "a.jpg", "known kind")


def test_random_damage_never_escapes_as_another_error(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "a.png", "a.webp", "a.gif", "a.tiff", "a.bmp"):
        whole = save(tmp_path, name) and (tmp_path / name).read_bytes()
        for _ in range(30):
            damaged = bytearray(whole[: rng.integers(1, len(whole) + 1)])
            for position in rng.integers(len(damaged), size=4):
                damaged[position] = rng.integers(256)
            (tmp_path / name).write_bytes(damaged)
            try:
                encoded = read(tmp_path, name)
            except UserError:
                continue
            assert decoded(encoded).shape == (HEIGHT, WIDTH, 3)


def test_read_size(tmp_path):
    assert read_size(tmp_path, save(tmp_path, "a.jpg")) == (WIDTH, HEIGHT)
