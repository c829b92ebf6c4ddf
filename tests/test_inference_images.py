"""inference.images: files that users hand over."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from libra_tf.commands.predict import _picture_names
from libra_tf.errors import UserError
from libra_tf.inference.images import list_images, read_rgb

RNG = np.random.default_rng(0)


def picture(path, size=(4, 3), **options):
    """Writes an image of random pixels, [H, W, 3]; returns the pixels."""
    pixels = RNG.integers(0, 256, [size[1], size[0], 3], np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def test_files_keep_their_order_and_folders_are_sorted(tmp_path):
    for name in ("in/b.JPG", "in/deep/c.png", "in/a.webp", "z.png"):
        picture(tmp_path / name)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    found = list_images([str(tmp_path / "z.png"), str(tmp_path / "in")])
    names = ["z.png", "in/a.webp", "in/b.JPG", "in/deep/c.png"]
    assert found == [tmp_path / name for name in names]


def test_every_image_once(tmp_path):
    picture(tmp_path / "a.png")
    words = [tmp_path / "a.png", tmp_path, f"{tmp_path}/./a.png"]
    assert list_images(map(str, words)) == [tmp_path / "a.png"]


def test_a_folder_that_is_named_like_an_image(tmp_path):
    picture(tmp_path / "album.jpg" / "a.png")
    assert list_images([str(tmp_path)]) == [tmp_path / "album.jpg" / "a.png"]


def test_hidden_files_and_unknown_kinds_are_passed_over(tmp_path):
    for name in ("a.png", ".b.png", "._c.png", ".git/d.png", "__MACOSX/e.png"):
        picture(tmp_path / name)
    for name in ("f.txt", "g.heic", "h.jpg.part", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"?")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert list_images([str(tmp_path)]) == [tmp_path / "a.png"]


def test_a_hidden_file_that_is_named_is_taken(tmp_path):
    picture(tmp_path / ".b.png")
    assert list_images([str(tmp_path / ".b.png")]) == [tmp_path / ".b.png"]


def test_links_to_folders_are_followed_once(tmp_path):
    picture(tmp_path / "elsewhere" / "a.png")
    folder = tmp_path / "in"
    picture(folder / "b.png")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "other").symlink_to(tmp_path / "elsewhere")
    (folder / "loop").symlink_to(folder)
    found = list_images([str(folder)])
    assert found == [folder / "b.png", folder / "link" / "a.png"]


def test_a_folder_without_images(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match=f"{tmp_path}: no image in this folder"):
        list_images([str(tmp_path)])


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"a.png: no such file or folder"):
        list_images([str(tmp_path / "a.png")])


def test_pictures_of_images_that_share_a_name():
    files = [Path(name) for name in ("a.jpg", "a.png", "a_2.jpg", "b/a.jpg")]
    names = _picture_names(files)
    assert [names[f] for f in files] == ["a.png", "a_3.png", "a_2.png", "a_4.png"]


def test_pixels_of_a_png(tmp_path):
    pixels = picture(tmp_path / "a.png")
    image = read_rgb(tmp_path / "a.png")
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, pixels)


@pytest.mark.parametrize(("tag", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_the_exif_tag_turns_the_image_upright(tmp_path, tag, turns):
    exif = Image.Exif()
    exif[0x0112] = tag
    pixels = picture(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.png"), np.rot90(pixels, turns))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_other_modes_become_rgb(tmp_path, mode):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new("RGB", (4, 3), (255, 255, 255)).convert(mode).save(path)
    image = read_rgb(path)
    assert image.shape == (3, 4, 3)
    assert image.min() >= 254


def test_16_bits_are_scaled_as_in_conversion(tmp_path):
    values = np.array([[0, 256, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    image = read_rgb(tmp_path / "a.png")
    np.testing.assert_array_equal(image[0, :, 0], [0, 1, 255])
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


def test_32_bits_have_no_range(tmp_path):
    Image.fromarray(np.ones([2, 2], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"a.tif: pixels of kind F .* 8 bits"):
        read_rgb(tmp_path / "a.tif")


def test_an_image_with_too_many_pixels(tmp_path):
    picture(tmp_path / "a.png", (20, 10))
    assert read_rgb(tmp_path / "a.png", max_pixels=200).shape == (10, 20, 3)
    with pytest.raises(UserError, match="20x10 pixels, more than the limit of 199"):
        read_rgb(tmp_path / "a.png", max_pixels=199)


@pytest.mark.parametrize(
    ("width", "message"),
    [(8_000, "8000x8000 pixels, more than"), (60_000, "decompression bomb")],
)
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, width, message):
    path = tmp_path / "bomb.png"
    picture(path)
    # The first chunk of a PNG: length and name, width, height, five bytes, checksum.
    data = path.read_bytes()
    head = b"IHDR" + struct.pack(">II", width, width) + data[24:29]
    checksum = struct.pack(">I", zlib.crc32(head))
    path.write_bytes(data[:12] + head + checksum + data[33:])
    with pytest.raises(UserError, match=f"^{path}: .*{message}"):
        read_rgb(path)


@pytest.mark.parametrize("kind", ["text", "empty", "cut off"])
def test_a_broken_file_is_one_line_with_its_name(tmp_path, kind):
    path = tmp_path / "a.jpg"
    picture(path, (64, 64))
    data = path.read_bytes()
    path.write_bytes({"text": b"hello", "empty": b"", "cut off": data[:400]}[kind])
    with pytest.raises(UserError, match=f"^{path}: cannot be decoded") as error:
        read_rgb(path)
    assert "\n" not in str(error.value)
