"""Pictures of detections."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from libra_tf.drawing.detections import Mark, draw_detections, draw_marks
from libra_tf.drawing.image_files import jpeg_uri, save_image
from libra_tf.drawing.palette import class_color
from libra_tf.errors import UserError

NAMES = {1: "RBC", 2: "WBC"}
GREY = np.full((480, 640, 3), 120, np.uint8)
BOX = np.array([[100, 200, 300, 500]])


def changed(picture, image=GREY):
    return np.argwhere((picture != image).any(-1))


def test_box_and_label_are_drawn_where_they_belong():
    picture = draw_detections(GREY, BOX, [1], [0.9], NAMES)
    assert picture.dtype == np.uint8
    assert picture.shape == GREY.shape
    assert (picture[200, 198:200] == class_color(1)).all()
    assert (picture[300:302, 350] == class_color(1)).all()
    assert (picture[100:300, 200:500] == 120).all()
    top, left = changed(picture).min(0)
    bottom, right = changed(picture).max(0)
    # The label stands above the box; lines are a few pixels wide.
    assert 70 < top < 95
    assert left == 197
    assert (bottom, right) == (302, 502)


def test_label_tells_class_and_score():
    one, other, third = (
        draw_detections(GREY, BOX, [1], [score], names)
        for score, names in [(0.91, NAMES), (0.92, NAMES), (0.91, {1: "Platelets"})]
    )
    assert (one != other).any()
    assert (one != third).any()


def test_without_labels_there_are_lines_only():
    picture = draw_detections(GREY, BOX, [1], [0.9], NAMES, labels=False)
    top, left = changed(picture).min(0)
    assert (top, left) == (97, 197)
    wide = draw_detections(GREY, BOX, [1], [0.9], NAMES, labels=False, width=6)
    assert changed(wide).min(0).tolist() == [93, 193]
    with pytest.raises(UserError, match="--line-width is 0"):
        draw_detections(GREY, BOX, [1], [0.9], NAMES, width=0)


def test_ground_truth_is_white_dashes_on_top():
    picture = draw_detections(GREY, BOX, [1], [0.9], NAMES, truth=BOX, labels=False)
    row = {tuple(p) for p in picture[99, 210:490]}
    assert row == {(255, 255, 255), (0, 0, 0)}
    alone = draw_detections(GREY, np.zeros((0, 4)), [], np.zeros(0), NAMES, truth=BOX)
    assert (alone[100:300, 200:500] == 120).all()
    assert len(changed(alone)) > 1000


def test_the_last_mark_lies_on_top():
    marks = [Mark(BOX[0], (255, 0, 0)), Mark(BOX[0], (0, 0, 255))]
    picture = draw_marks(GREY, marks)
    assert (picture[99, 350] == (0, 0, 255)).all()
    assert not (picture == (255, 0, 0)).all(-1).any()


def test_threshold_and_empty_image():
    scores = np.array([0.9, 0.3])
    boxes = np.concatenate([BOX, BOX + 50])
    both = draw_detections(GREY, boxes, [1, 2], scores, NAMES, threshold=0.3)
    first = draw_detections(GREY, boxes, [1, 2], scores, NAMES)
    assert len(changed(both)) > len(changed(first)) > 0
    none = draw_detections(GREY, np.zeros((0, 4)), [], np.zeros(0), NAMES)
    assert (none == GREY).all()


def test_small_image_is_enlarged_with_its_boxes_and_masks():
    small = np.full((60, 80, 3), 120, np.uint8)
    mask = np.zeros((1, 60, 80), bool)
    mask[0, 20:30, 30:50] = True
    picture = draw_detections(
        small, np.array([[10, 20, 40, 60]]), [2], [0.8], NAMES, masks=mask
    )
    assert picture.shape == (480, 640, 3)
    assert (picture[200, 158:160] == class_color(2)).all()  # left line: x 20 * 8
    blend = 120 * 0.6 + np.array(class_color(2)) * 0.4
    assert picture[200, 320] == pytest.approx(blend, abs=1)
    assert (picture[300, 320] == 120).all()


def test_id_without_name_and_box_beyond_the_image():
    box = np.array([[-50, -50, 2000, 2000]])
    picture = draw_detections(GREY, box, [9], [0.5], NAMES)
    assert len(changed(picture)) > 100


def test_image_is_not_changed():
    image = np.full((480, 480, 3), 7, np.uint8)
    draw_detections(image, BOX, [1], [1.0], NAMES)
    assert (image == 7).all()


def test_save_image(tmp_path):
    path = tmp_path / "new" / "a.png"
    save_image(path, GREY)
    assert (np.asarray(Image.open(path)) == GREY).all()
    save_image(path.with_suffix(".jpg"), GREY)
    assert Image.open(path.with_suffix(".jpg")).format == "JPEG"
    assert sorted(p.name for p in path.parent.iterdir()) == ["a.jpg", "a.png"]
    with pytest.raises(UserError, match=r"a\.txt: unknown kind of picture"):
        save_image(path.with_suffix(".txt"), GREY)
    with pytest.raises(UserError, match=r"a\.png: this folder cannot be made"):
        save_image(path / "b.png", GREY)


def test_an_image_as_text():
    kind, text = jpeg_uri(GREY).split(",")
    assert kind == "data:image/jpeg;base64"
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
    assert shown.shape == GREY.shape
    assert abs(shown.astype(int) - GREY).max() < 5
