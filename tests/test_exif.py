"""Orientation of picture files: in Python and in TensorFlow, whatever is damaged."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from libra_tf.data import exif
from libra_tf.ops.exif import exif_orientation, turn_upright

FORMATS = ("JPEG", "PNG", "WEBP")
graph_orientation = tf.function(
    exif_orientation, input_signature=[tf.TensorSpec([], tf.string)]
)


def encoded(kind="JPEG", tag=None, size=(5, 3), **options):
    """A file with and without a tag."""
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    if tag is not None:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = tag
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind, **options)
    return buffer.getvalue()


def both(data):
    """The orientation, on which both readers agree."""
    value = exif.read_orientation(data)
    assert int(graph_orientation(data)) == value
    return value


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("tag", [None, *range(10)])
def test_the_tag_is_read(kind, tag):
    data = encoded(kind, tag)
    assert both(data) == (tag if tag in range(2, 9) else 1)


def tiff(order, tag=6, kind=3, count=1, more=()):
    """EXIF data with further entries before the orientation."""
    name = {"little": b"II", "big": b"MM"}[order]
    entries = [*more, (0x0112, kind, count, tag)]
    data = name + (42).to_bytes(2, order) + (8).to_bytes(4, order)
    data += len(entries).to_bytes(2, order)
    for code, form, number, value in entries:
        size = {1: 1, 3: 2, 4: 4}.get(form, 4)
        data += code.to_bytes(2, order) + form.to_bytes(2, order)
        data += number.to_bytes(4, order) + value.to_bytes(size, order).ljust(4, b"\0")
    return data + bytes(4)


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("kind", [1, 3, 4])
def test_both_byte_orders_and_all_whole_numbers(order, kind):
    block = tiff(order, 8, kind, more=[(0x010F, 2, 4, 7), (0x011A, 3, 1, 3)])
    assert both(encoded(exif=b"Exif\0\0" + block)) == 8


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"II",
        b"MM\0*",
        b"XX" + tiff("little")[2:],
        b"II\0*" + tiff("little")[4:],
        tiff("big", count=2),
        tiff("big", kind=2),
        tiff("big", tag=9),
        tiff("little", tag=0),
        tiff("little")[:14],
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\xff\xff",
    ],
)
def test_nonsense_is_upright(block):
    assert both(encoded(exif=b"Exif\0\0" + block)) == 1


def segment(marker, payload):
    return b"\xff" + bytes([marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


def test_the_tag_is_found_behind_other_segments():
    plain = encoded()
    app1 = segment(0xE1, b"Exif\0\0" + tiff("big", 3))
    for before in (
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='6'/>"),
        segment(0xED, bytes(60_000)) + segment(0xFE, b"\xff\xe1\0\x10Exif\0\0"),
        b"\xff\xff\xff",  # fill bytes
    ):
        assert both(plain[:2] + before + app1 + plain[2:]) == 3
        assert both(plain[:2] + before + plain[2:]) == 1
    # An image of its own inside of the data, and data behind the picture.
    assert both(plain + app1) == 1


@pytest.mark.parametrize("data", [b"", b"\0", b"\xff\xd8", b"RIFF0000WEBP", b"hello"])
def test_what_is_no_picture_is_upright(data):
    assert both(data) == 1


def test_both_read_damaged_files_alike():
    rng = np.random.default_rng(0)
    seen = set()
    for kind in FORMATS:
        whole = encoded(kind, 6)
        block = whole.find(b"II*\0") if b"II*\0" in whole else whole.find(b"MM\0*")
        for _ in range(60):
            damaged = bytearray(whole[: rng.integers(block, len(whole))])
            for at in rng.integers(max(block - 20, 0), block + 30, size=2):
                damaged[min(at, len(damaged) - 1)] = rng.choice([0, 1, 3, 8, 255])
            seen.add(both(bytes(damaged)))
    assert seen >= {1, 6}


@pytest.mark.parametrize("tag", range(1, 9))
def test_turning_is_pillows(tag):
    data = encoded("PNG", tag)
    picture = Image.open(io.BytesIO(data))
    expected = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(exif.turn_upright(picture, tag), expected)
    turned = turn_upright(tf.constant(np.asarray(picture)), tf.constant(tag))
    np.testing.assert_array_equal(turned, expected)
    sizes = exif.stored_and_upright(picture, tag)
    assert sizes == (picture.size, expected.shape[1::-1])
