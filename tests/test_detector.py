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


IMAGES = tf.TensorSpec([None, None, None, 3], tf.uint8)


def saved(folder, serve, specs=(IMAGES,)):
    """A SavedModel of a function; `out_of` gives what a detector gives."""
    module = tf.Module()
    module.serve = tf.function(serve, input_signature=specs)
    tf.saved_model.save(module, str(folder), signatures=module.serve)
    return str(folder)


def out_of(**outputs):
    usual = {
        "detection_boxes": tf.constant([[[0.0, 0.0, 4.0, 6.0]]]),
        "detection_classes": tf.constant([[3.0]]),
        "detection_scores": tf.constant([[0.5]]),
        "num_detections": tf.constant([1]),
        "image_info": tf.ones([1, 4, 2]),
    }
    return usual | outputs


@pytest.mark.parametrize(
    ("serve", "specs", "message"),
    [
        (lambda a, b: out_of(), [IMAGES, IMAGES], "takes 2 inputs (a, b), not one"),
        (lambda: out_of(), [], "takes 0 inputs, not one batch of images"),
        (
            lambda inputs: {"x": inputs},
            [IMAGES],
            "gives no detection_boxes, so it is no",
        ),
        (
            lambda inputs: out_of(detection_boxes=tf.zeros([1, 1, 3])),
            [IMAGES],
            "its detection_boxes are float32 [1, 1, 3], not numbers [None, None, 4]",
        ),
        (
            lambda inputs: out_of(detection_scores=tf.constant([["high"]])),
            [IMAGES],
            "its detection_scores are string [1, 1], not numbers",
        ),
    ],
)
def test_a_saved_model_that_is_no_detector(tmp_path, serve, specs, message):
    saved(tmp_path, serve, specs)
    with pytest.raises(UserError) as error:
        load_detector(str(tmp_path))
    assert str(error.value).startswith(f"{tmp_path}: ")
    assert message in str(error.value)


def test_an_input_of_another_name(tmp_path):
    detector = load_detector(saved(tmp_path, lambda pictures: out_of()))
    found = detector.detect(np.zeros((4, 6, 3), np.uint8))
    np.testing.assert_array_equal(found.boxes, [[0, 0, 4, 6]])


def test_a_detector_that_fails_on_a_picture_costs_that_picture(tmp_path, capsys):
    """It takes pictures of one size only."""
    whole = [1, 1, 4]
    folder = saved(
        tmp_path / "model",
        lambda inputs: out_of(
            detection_boxes=tf.reshape(tf.cast(inputs[..., 0], tf.float32), whole)
        ),
    )
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    Image.new("RGB", (6, 4)).save(tmp_path / "b.png")
    words = ["predict", tmp_path, "--model", folder, "--out", tmp_path / "out"]
    assert main([*map(str, words), "--no-pictures"]) == 2
    error = capsys.readouterr().err
    assert (
        f"libra: error: {tmp_path}/b.png: {folder} fails on a picture of 6x4" in error
    )
    assert "6x4: Input to reshape is a tensor with 24 values" in error
    assert len(json.loads((tmp_path / "out" / "detections.json").read_text())) == 1


@pytest.mark.parametrize("name", ["detection_boxes", "detection_classes"])
def test_detections_that_are_not_finite_are_told(tmp_path, name, capsys):
    bad = {"detection_boxes": [1, 1, 4], "detection_classes": [1, 1]}[name]
    folder = saved(
        tmp_path / "model",
        lambda inputs: out_of(**{name: tf.fill(bad, np.float32(np.nan))}),
    )
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    words = ["predict", tmp_path / "a.png", "--model", folder, "--out", tmp_path / "o"]
    assert main([*map(str, words)]) == 2
    assert (
        "a.png: 1 detections are no finite numbers and were" in capsys.readouterr().err
    )


def test_what_cannot_be_written_is_told_before_detecting(folder, tmp_path, capsys):
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    (tmp_path / "out" / "detections.json").mkdir(parents=True)
    words = [
        "predict",
        tmp_path / "a.png",
        "--model",
        folder,
        "--out",
        tmp_path / "out",
    ]
    assert main([*map(str, words)]) == 2
    assert "detections.json: is a folder, but a file is" in capsys.readouterr().err
    assert not (tmp_path / "out" / "a.png").exists()


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
