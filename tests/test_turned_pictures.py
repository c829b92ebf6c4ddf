"""Pictures with an EXIF orientation: turned where that is certain, or by a flag."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps
from test_images import HEIGHT, WIDTH, decoded, picture, read, refused, save

from libra_tf.commands.main import main
from libra_tf.data.exif import read_orientation
from libra_tf.data.images import read_size
from libra_tf.errors import UserError
from libra_tf.inference.images import read_rgb

# Twice through a JPEG, or through two decoders.
JPEG_NOISE = 6


def save_turned(folder, name, tag, image=None):
    exif = Image.Exif()
    exif[0x0112] = tag
    return save(folder, name, image, exif=exif)


def shown(folder, name):
    """Pixels as every viewer shows them."""
    with Image.open(folder / name) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"), int)


@pytest.mark.parametrize("tag", [5, 6, 7, 8])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tiff"])
def test_a_picture_annotated_upright_is_turned(tmp_path, name, tag):
    save_turned(tmp_path, name, tag)
    encoded = read(tmp_path, name, HEIGHT, WIDTH)
    assert encoded.findings == ("turned",)
    assert read_orientation(encoded.data) == 1
    pixels = decoded(encoded)
    assert pixels.shape == (WIDTH, HEIGHT, 3)
    noise = JPEG_NOISE if name in ("a.jpg", "a.webp") else 0
    assert np.abs(pixels - shown(tmp_path, name)).max() <= noise


@pytest.mark.parametrize("tag", range(2, 9))
def test_the_stored_size_is_refused_with_the_tag_and_both_cures(tmp_path, tag):
    save_turned(tmp_path, "a.jpg", tag)
    cures = ("--exif turn", "--exif ignore", "exiftool -Orientation=")
    refused(tmp_path, "a.jpg", f"EXIF orientation is {tag}", *cures)


@pytest.mark.parametrize("tag", [2, 3, 4])
def test_turn_where_the_size_stays(tmp_path, tag):
    save_turned(tmp_path, "a.png", tag)
    encoded = read(tmp_path, "a.png", exif="turn")
    assert encoded.findings == ("turned",)
    np.testing.assert_array_equal(decoded(encoded), shown(tmp_path, "a.png"))


@pytest.mark.parametrize("tag", [3, 6])
def test_ignore_keeps_the_stored_pixels_and_drops_the_tag(tmp_path, tag):
    save_turned(tmp_path, "a.png", tag)
    encoded = read(tmp_path, "a.png", exif="ignore")
    assert encoded.findings == ("stored",)
    np.testing.assert_array_equal(decoded(encoded), np.asarray(picture()))
    assert read_orientation(encoded.data) == 1


def test_a_tiff_that_pillow_has_turned_is_not_ignored(tmp_path):
    save_turned(tmp_path, "a.tiff", 6)
    refused(tmp_path, "a.tiff", "EXIF orientation is 6", exif="ignore")


def test_a_third_size_names_the_upright_one(tmp_path):
    save_turned(tmp_path, "a.jpg", 6)
    upright = f"{HEIGHT}x{WIDTH} turned upright by its EXIF orientation 6"
    refused(tmp_path, "a.jpg", upright, "48x48", width=48, height=48)


def test_a_size_that_is_read_is_that_of_the_chosen_side(tmp_path):
    save_turned(tmp_path, "a.jpg", 6)
    assert read_size(tmp_path, "a.jpg", "turn") == (HEIGHT, WIDTH)
    assert read_size(tmp_path, "a.jpg", "ignore") == (WIDTH, HEIGHT)
    with pytest.raises(UserError, match="the annotations have no size, so it is open"):
        read_size(tmp_path, "a.jpg")
    save_turned(tmp_path, "b.jpg", 1)
    assert read_size(tmp_path, "b.jpg") == (WIDTH, HEIGHT)


def test_the_cure_for_a_turned_tiff_is_none_that_it_refuses(tmp_path):
    save_turned(tmp_path, "a.tiff", 6)
    with pytest.raises(UserError) as error:
        read_size(tmp_path, "a.tiff")
    assert "--exif turn" in str(error.value)
    assert "--exif ignore" not in str(error.value)


def annotations(path, width, height, bbox):
    area = bbox[2] * bbox[3]
    record = {"id": 1, "image_id": 1, "category_id": 1, "bbox": bbox, "area": area}
    record["iscrowd"] = 0
    # Of another place; one example of a class would be a finding too.
    other = record | {"id": 2, "bbox": [1, 1, 5, 6], "area": 30}
    image = {"id": 1, "file_name": "a.jpg", "width": width, "height": height}
    content = {"images": [image], "annotations": [record, other]}
    content["categories"] = [{"id": 1, "name": "cat"}]
    path.write_text(json.dumps(content))


def convert(folder, *flags):
    words = ["--images", str(folder), "--annotations", str(folder / "a.json")]
    words += ["--split", "val", "--out", str(folder / "out"), "--workers", "1"]
    return main(["data", "convert", *words, *flags])


# A box that lies below the stored picture, in which it would be clipped.
BOX = [5, 35, 20, 10]


@pytest.mark.parametrize(
    ("size", "flags"),
    [
        ((HEIGHT, WIDTH), []),
        ((HEIGHT, WIDTH), ["--strict"]),
        ((HEIGHT, WIDTH), ["--exif", "ignore"]),  # The size cannot be the stored one.
        ((WIDTH, HEIGHT), ["--exif", "turn"]),
    ],
)
def test_conversion_predict_and_saved_model_see_one_picture(
    tmp_path, capsys, size, flags
):
    save_turned(tmp_path, "a.jpg", 6)
    annotations(tmp_path / "a.json", *size, BOX)
    assert convert(tmp_path, *flags) == 0
    assert "val: 1 picture was turned upright" in capsys.readouterr().err
    out = json.loads((tmp_path / "out" / "val.json").read_text())
    assert out["annotations"][0]["bbox"] == BOX
    assert (out["images"][0]["width"], out["images"][0]["height"]) == (HEIGHT, WIDTH)
    entry = json.loads((tmp_path / "out" / "dataset.json").read_text())["splits"]["val"]
    assert entry["findings"] == {"turned": {"count": 1, "first": ["a.jpg"]}}
    (record,) = tf.data.TFRecordDataset(tf.io.gfile.glob(f"{tmp_path}/out/*.tfrecord"))
    feature = tf.train.Example.FromString(record.numpy()).features.feature
    stored = tf.io.decode_image(feature["image/encoded"].bytes_list.value[0]).numpy()
    predicted = read_rgb(tmp_path / "a.jpg").astype(int)
    assert np.abs(stored - predicted).max() <= JPEG_NOISE
    assert np.abs(shown(tmp_path, "a.jpg") - predicted).max() <= JPEG_NOISE


def test_stored_boxes_are_kept_with_the_stored_pixels(tmp_path, capsys):
    save_turned(tmp_path, "a.jpg", 6)
    annotations(tmp_path / "a.json", WIDTH, HEIGHT, [5, 5, 20, 10])
    assert convert(tmp_path) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("(exiftool -Orientation=)")
    assert convert(tmp_path, "--exif", "ignore") == 0
    assert "1 picture was left as stored" in capsys.readouterr().err
    out = json.loads((tmp_path / "out" / "val.json").read_text())
    assert (out["images"][0]["width"], out["images"][0]["height"]) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("flags", [[], ["--exif", "turn"]])
def test_run_lengths_fit_the_picture_as_it_is_turned(tmp_path, capsys, flags):
    """Those of the stored pixels would be drawn askew over the upright picture."""
    save_turned(tmp_path, "a.jpg", 6)
    size = (WIDTH, HEIGHT) if flags else (HEIGHT, WIDTH)
    annotations(tmp_path / "a.json", *size, BOX)
    content = json.loads((tmp_path / "a.json").read_text())
    counts = {"size": [size[1], size[0]], "counts": [60, 100, WIDTH * HEIGHT - 160]}
    for record in content["annotations"]:
        record["segmentation"] = counts
    (tmp_path / "a.json").write_text(json.dumps(content))
    code = convert(tmp_path, "--masks", *flags)
    if flags:  # annotated as it is stored, of which the run lengths are
        assert code == 2
        err = capsys.readouterr().err
        assert f"segmentation is of [{HEIGHT}, {WIDTH}], the picture upright" in err
        return
    assert code == 0
    out = json.loads((tmp_path / "out" / "val.json").read_text())
    assert out["annotations"][0]["segmentation"]["size"] == [WIDTH, HEIGHT]
