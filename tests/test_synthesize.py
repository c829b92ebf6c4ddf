"""The embedded data set: exact boxes, honest overlaps, equal from run to run."""

import itertools
import json

import numpy as np
import pytest
from PIL import Image
from tolerances import ELEMENTWISE, assert_close

from libra_tf.data.coco import read_coco
from libra_tf.data.shapes import CLASS_NAMES, DIFFICULTIES, draw_picture
from libra_tf.data.synthesize import synthesize
from libra_tf.errors import UserError


def files(folder):
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_layout_and_content(tmp_path):
    summary = synthesize(tmp_path / "out", num_train=5, num_val=2, size=64)
    train = read_coco(tmp_path / "out/annotations/instances_train.json")
    assert [c.name for c in train.categories] == list(CLASS_NAMES)
    assert [c.id for c in train.categories] == [1, 2, 3]
    assert len(train.images) == 5
    assert train.has_masks
    boxes = sum(len(image.annotations) for image in train.images)
    assert summary["splits"]["train"] == {"num_images": 5, "num_annotations": boxes}
    for image in train.images:
        with Image.open(tmp_path / "out/images/train" / image.file_name) as picture:
            assert picture.size == (image.width, image.height) == (64, 64)


def test_equal_arguments_give_equal_files_and_prefixes(tmp_path):
    arguments = {"num_val": 1, "size": 48, "seed": 3}
    for name, count in (("a", 3), ("b", 3), ("longer", 5)):
        synthesize(tmp_path / name, num_train=count, **arguments)
    synthesize(tmp_path / "other", num_train=3, num_val=1, size=48, seed=4)
    a, b, longer = (files(tmp_path / name) for name in ("a", "b", "longer"))
    assert a == b
    name = "images/train/000003.jpg"
    assert longer[name] == a[name]
    assert files(tmp_path / "other")[name] != a[name]
    assert a["images/val/000001.jpg"] != a["images/train/000001.jpg"]


@pytest.mark.parametrize("difficulty", ["easy", "hard", "sparse"])
def test_sizes_counts_and_overlaps_keep_their_limits(difficulty):
    limits = DIFFICULTIES[difficulty]
    counts, sides, classes = [], [], set()
    for seed in range(150):
        _, shapes = draw_picture(np.random.default_rng(seed), 128, limits)
        counts.append(len(shapes))
        for shape in shapes:
            xmin, ymin, xmax, ymax = shape.box
            assert min(xmin, ymin) >= 0
            assert max(xmax, ymax) <= 128
            sides += [xmax - xmin, ymax - ymin]
            classes.add(shape.class_id)
        for one, other in itertools.combinations(shapes, 2):
            assert iou(one.box, other.box) <= limits.max_iou + 1e-9
    low, high = (128 * side for side in limits.sides)
    assert low - 0.02 <= min(sides) < 1.2 * low
    assert 0.9 * high < max(sides) <= high + 0.02
    assert classes == {1, 2, 3}
    assert min(counts) == 1
    assert limits.max_objects / 2 < max(counts) <= limits.max_objects


def iou(a, b):
    overlap = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    shared = overlap.prod()
    return shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)


def test_box_and_polygon_lie_where_the_pixels_changed(monkeypatch):
    """Paints one shape in plain white on black and measures it."""
    monkeypatch.setattr(
        "libra_tf.data.shapes._background", lambda rng, size: np.zeros((size, size, 3))
    )
    monkeypatch.setattr(
        "libra_tf.data.shapes._colour_unlike", lambda other, rng: np.full(3, 230.0)
    )
    quiet = DIFFICULTIES["easy"].__class__(1, (0.2, 0.5), 0.0, 0.0, (0, 0), False)
    seen = set()
    for seed in range(30):
        picture, (shape,) = draw_picture(np.random.default_rng(seed), 128, quiet)
        seen.add(shape.class_id)
        inside = np.asarray(picture).mean(-1) > 100
        rows, columns = np.where(inside.any(1))[0], np.where(inside.any(0))[0]
        painted = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        # The tip of a triangle is thinner than half a pixel for some pixels.
        slack = 3.5 if shape.class_id == 3 else 1.0
        np.testing.assert_allclose(painted, shape.box, atol=slack)
        assert inside.sum() == pytest.approx(shape.area, rel=0.04)
    assert seen == {1, 2, 3}


def test_area_is_that_of_the_class():
    fill = {1: 1.0, 2: np.pi / 4, 3: 0.5}
    for seed in range(20):
        _, shapes = draw_picture(np.random.default_rng(seed), 128, DIFFICULTIES["easy"])
        for shape in shapes:
            box = (shape.box[2:] - shape.box[:2]).prod()
            assert shape.area / box == pytest.approx(fill[shape.class_id], rel=0.01)


def test_written_boxes_are_the_extent_of_the_polygons(tmp_path):
    synthesize(tmp_path / "out", num_train=10, num_val=1, difficulty="hard")
    path = tmp_path / "out/annotations/instances_train.json"
    for annotation in json.loads(path.read_text())["annotations"]:
        points = np.reshape(annotation["segmentation"][0], (-1, 2))
        extent = np.concatenate([points.min(0), np.ptp(points, axis=0)])
        assert_close(annotation["bbox"], extent, of=ELEMENTWISE, scale=1.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": 8}, "size 8"),
        ({"num_train": 0}, "at least one"),
        ({"seed": -1}, "seed"),
        ({"difficulty": "absurd"}, "easy, hard"),
    ],
)
def test_senseless_arguments(tmp_path, arguments, words):
    with pytest.raises(UserError, match=words):
        synthesize(tmp_path / "out", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_content_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match="not empty"):
        synthesize(tmp_path, num_train=1, num_val=1)


def test_interruption_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("libra_tf.data.synthesize._annotation", interrupt)
    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "out", num_train=2, num_val=1)
    assert list(tmp_path.iterdir()) == []
