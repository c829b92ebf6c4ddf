"""A SavedModel behind one call, and the names of its classes."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from libra_tf.commands.main import main
from libra_tf.errors import UserError
from libra_tf.inference.detector import load_detector
from libra_tf.inference.serving import DESCRIPTION


class OneBox(tf.Module):
    """Finds one object of class 3 in every image: the whole of it."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    def serve(self, inputs):
        shape = tf.cast(tf.shape(inputs), tf.float32)
        box = tf.stack([0.0, 0.0, shape[1], shape[2]])
        return {
            "detection_boxes": box[tf.newaxis, tf.newaxis],
            "detection_classes": tf.constant([[3.0]]),
            "detection_scores": tf.constant([[0.5]]),
            "num_detections": tf.constant([1]),
            "image_info": tf.ones([1, 4, 2]),
        }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    module = OneBox()
    tf.saved_model.save(module, str(path), signatures=module.serve)
    (path / DESCRIPTION).parent.mkdir()
    return path


def load(folder, content):
    (folder / DESCRIPTION).write_bytes(content)
    return load_detector(str(folder))


def test_the_names_are_those_of_the_description(folder):
    detector = load(folder, json.dumps({"class_names": {"3": "cell"}}).encode())
    assert detector.class_names == {3: "cell"}
    found = detector.detect(np.zeros((4, 6, 3), np.uint8))
    np.testing.assert_array_equal(found.boxes, [[0, 0, 4, 6]])
    assert list(found.classes) == [3]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"class_names": {"1": "ce',
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"class_names": ["cell"]}',
        b'{"class_names": {"cell": 1}}',
        b'{"class_names": {"1": "cell"}, "file_ids": [0]}',
        b'{"class_names": {"1": "cell"}, "file_ids": {"1": null}}',
    ],
)
def test_a_damaged_description_is_one_line_that_names_it(folder, content):
    with pytest.raises(UserError) as error:
        load(folder, content)
    message = str(error.value)
    assert message.startswith(f"{folder / DESCRIPTION}: ")
    assert "\n" not in message


@pytest.mark.parametrize("converted", [True, False])
def test_predictions_have_the_ids_of_the_source(folder, tmp_path, converted):
    """Class 3 is "cells" there, and the picture has a text as id."""
    description = {"class_names": {"3": "cell"}, "file_ids": {"3": "cells"}}
    (folder / DESCRIPTION).write_text(json.dumps(description))
    picture = tmp_path / "a.png"
    Image.new("RGB", (6, 4)).save(picture)
    image = {"id": "scan", "file_name": "a.png"}
    if converted:
        image = {"id": 1, "file_name": "a.png", "file_id": "scan"}
    content = {"info": {"has_file_ids": converted}, "images": [image]}
    annotations = tmp_path / "a.json"
    annotations.write_text(json.dumps(content))
    words = ["predict", picture, "--model", folder, "--out", tmp_path / "out"]
    words += ["--annotations", annotations, "--no-pictures"]
    assert main([*map(str, words)]) == 0
    (found,) = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert (found["image_id"], found["category_id"]) == ("scan", "cells")
    assert found["category_name"] == "cell"


@pytest.mark.parametrize("converted", [True, False])
def test_predictions_have_the_class_ids_of_the_annotations(folder, tmp_path, converted):
    """By name: the annotations may be of another split, which numbers otherwise."""
    description = {"class_names": {"3": "cell"}, "file_ids": {"3": "cells"}}
    (folder / DESCRIPTION).write_text(json.dumps(description))
    picture = tmp_path / "a.png"
    Image.new("RGB", (6, 4)).save(picture)
    category = {"id": 90, "name": "cell"}
    if converted:
        category = {"id": 3, "name": "cell", "file_id": 90}
    content = {"info": {"has_file_ids": converted}, "categories": [category]}
    content["images"] = [{"id": 7, "file_name": "a.png"}]
    annotations = tmp_path / "a.json"
    annotations.write_text(json.dumps(content))
    words = ["predict", picture, "--model", folder, "--out", tmp_path / "out"]
    words = [*map(str, [*words, "--annotations", annotations, "--no-pictures"])]
    assert main(words) == 0
    (found,) = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert (found["image_id"], found["category_id"]) == (7, 90)


def test_a_class_that_the_annotations_give_another_meaning_is_told(
    folder, tmp_path, capsys
):
    (folder / DESCRIPTION).write_text(json.dumps({"class_names": {"3": "cell"}}))
    picture = tmp_path / "a.png"
    Image.new("RGB", (6, 4)).save(picture)
    content = {"categories": [{"id": 3, "name": "dust"}]}
    content["images"] = [{"id": 7, "file_name": "a.png"}]
    annotations = tmp_path / "a.json"
    annotations.write_text(json.dumps(content))
    words = ["predict", picture, "--model", folder, "--out", tmp_path / "out"]
    assert main([*map(str, [*words, "--annotations", annotations])]) == 2
    assert "no category 'cell', which the" in capsys.readouterr().err


def test_predict_tells_how_far_it_is_and_when_the_threshold_is_too_high(
    folder, tmp_path, capsys
):
    (folder / DESCRIPTION).write_text(json.dumps({"class_names": {"3": "cell"}}))
    for name in ("a.png", "b.png"):
        Image.new("RGB", (6, 4)).save(tmp_path / name)
    words = ["predict", tmp_path, "--model", folder, "--out", tmp_path / "out"]
    words = [*map(str, words), "--no-pictures"]
    assert main([*words, "--threshold", "0.6"]) == 0
    out, err = capsys.readouterr()
    assert "predict: 2/2 images" in err
    assert "none reaches --threshold 0.6; the best score is 0.5: give a lower" in out
    assert main(words) == 0
    assert "none reaches" not in capsys.readouterr().out


def test_a_gap_in_the_ids_is_not_taken_for_a_class_of_the_source(folder, tmp_path):
    """The detector finds a 3, which is no class; the source calls class 4 so."""
    description = {"class_names": {"4": "cell"}, "file_ids": {"4": 3}}
    (folder / DESCRIPTION).write_text(json.dumps(description))
    picture = tmp_path / "a.png"
    Image.new("RGB", (6, 4)).save(picture)
    words = ["predict", picture, "--model", folder, "--out", tmp_path / "out"]
    assert main([*map(str, words), "--no-pictures"]) == 0
    assert json.loads((tmp_path / "out" / "detections.json").read_text()) == []


@pytest.fixture
def two_pictures(folder, tmp_path):
    """Words that predict two pictures, and annotations of the first."""
    (folder / DESCRIPTION).write_text(json.dumps({"class_names": {"3": "cell"}}))
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "b b.png"):
        Image.new("RGB", (640, 480)).save(photos / name)
    box = {"image_id": 1, "category_id": 3, "bbox": [100, 100, 300, 200]}
    content = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b b.png"}],
        "categories": [{"id": 3, "name": "cell"}],
        "annotations": [box],
    }
    annotations = tmp_path / "a.json"
    annotations.write_text(json.dumps(content))
    words = ["predict", photos, "--model", folder, "--out", tmp_path / "out"]
    return [*map(str, words), "--annotations", str(annotations)]


def picture(folder, name="a.png"):
    return np.asarray(Image.open(folder / "out" / name))


def test_a_page_shows_the_pictures(two_pictures, tmp_path):
    assert main(two_pictures) == 0
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert 'src="a.png"' in page
    assert 'src="b%20b.png"' in page
    assert page.count("1 cell</figcaption>") == 2
    assert main([*two_pictures, "--no-pictures"]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "a.png", "b b.png", "detections.json", "index.html",
    ]  # fmt: skip


def test_what_is_drawn_can_be_chosen(two_pictures, tmp_path):
    assert main(two_pictures) == 0
    usual = picture(tmp_path)
    assert main([*two_pictures, "--no-labels"]) == 0
    bare = picture(tmp_path)
    assert 0 < (bare != 0).sum() < (usual != 0).sum()
    assert main([*two_pictures, "--no-labels", "--line-width", "6"]) == 0
    assert (picture(tmp_path) != 0).sum() > 2 * (bare != 0).sum()
    assert main([*two_pictures, "--no-labels", "--show-truth"]) == 0
    white = (picture(tmp_path) == 255).all(-1)
    # Two pixels outside of the annotated box, in dashes.
    assert np.argwhere(white).min(0).tolist() == [98, 98]
    assert np.argwhere(white).max(0).tolist() == [301, 401]
    assert not (picture(tmp_path, "b b.png") == 255).all(-1).any()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--line-width", "0"], "--line-width is 0; give 1 to 20 pixels"),
        (["--no-pictures", "--no-labels"], "there is nothing to draw"),
        (["--no-pictures", "--show-truth"], "there is nothing to draw"),
    ],
)
def test_a_choice_that_draws_nothing_is_refused(two_pictures, words, line, capsys):
    assert main([*two_pictures, *words]) == 2
    assert line in capsys.readouterr().err


def test_ground_truth_needs_annotations(two_pictures, capsys):
    assert main([*two_pictures[:-2], "--show-truth"]) == 2
    assert "--show-truth needs --annotations" in capsys.readouterr().err
