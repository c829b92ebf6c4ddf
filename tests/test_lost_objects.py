"""experiments.lost_objects: what limits cost, in counts of splits made by hand."""

import json
import re

import numpy as np
import pytest
import tiny

from libra_tf.commands.main import main
from libra_tf.data import manifest
from libra_tf.data.objects import SplitObjects, most_per_image, read_objects
from libra_tf.errors import UserError
from libra_tf.experiments import lost_objects as rules
from libra_tf.experiments.anchor_advice import (
    anchor_advice,
    anchors_of,
    best_anchor_iou,
    levels_of,
)
from libra_tf.experiments.lost_objects import lost_objects
from libra_tf.experiments.resolve import resolve


def write_split(folder, split, images, with_counts=True):
    """A converted split without pixels: `images` are (height, width, boxes)."""
    records, objects = [], []
    for key, (height, width, boxes) in enumerate(images, start=1):
        name = f"{split}{key}.jpg"
        records.append({"id": key, "file_name": name, "width": width, "height": height})
        for box in boxes:
            *box, crowd = box if len(box) == 5 else (*box, 0)
            entry = {"id": len(objects) + 1, "image_id": key, "category_id": 1}
            objects.append({**entry, "bbox": box, "iscrowd": crowd})
    categories = [{"id": 1, "name": "cell"}]
    content = {"images": records, "annotations": objects, "categories": categories}
    (folder / f"{split}.json").write_text(json.dumps(content))
    (folder / f"{split}-0.tfrecord").write_bytes(b"")
    entry = {
        "num_images": len(images),
        "num_annotations": len(objects),
        "tfrecords": f"{split}-*.tfrecord",
        "num_shards": 1,
        "annotations": f"{split}.json",
        "masks": False,
    }
    if with_counts:
        counts = {}
        for *_, boxes in images:
            counts[str(len(boxes))] = counts.get(str(len(boxes)), 0) + 1
        entry["objects_per_image"] = counts
    path = folder / manifest.FILE_NAME
    whole = manifest.read_content(folder)
    whole |= {"categories": categories, "num_classes": 2}
    whole["splits"][split] = entry
    path.write_text(json.dumps(whole))


def of_size(count, side=20.0):
    """`count` square boxes."""
    return [(1.0, 1.0, side, side)] * count


def task_for(folder, kind="fasterrcnn", **task):
    """The resolved task of a tiny detector with the default of `max_num_instances`."""
    params = tiny.experiment(f"libra_{kind}_resnetfpn_coco")
    model = {"num_classes": 0, "detection_generator": {"max_num_detections": 100}}
    parser = {"parser": {"max_num_instances": 100}}
    settings = {"dataset": str(folder), "model": model, "train_data": parser}
    params.override({"task": settings})
    params.override({"task": task})
    resolve(params)
    return params.task


@pytest.fixture
def folder(tmp_path):
    """Train: 3, 115 and 0 objects; val: 1 and 130."""
    square = (64, 64)
    images = [(*square, of_size(count)) for count in (3, 115, 0)]
    write_split(tmp_path, "train", images)
    write_split(tmp_path, "val", [(*square, of_size(n)) for n in (1, 130)])
    return tmp_path


def test_max_num_instances_follows_from_the_data(folder):
    task = task_for(folder)
    assert task.train_data.parser.max_num_instances == 115
    assert task.validation_data.parser.max_num_instances == 130
    assert not any("max_num_instances" in line for line in lost_objects(task))


def test_it_is_raised_up_to_a_bound(folder, monkeypatch):
    monkeypatch.setattr(rules, "MOST_INSTANCES", 110)
    task = task_for(folder)
    assert task.train_data.parser.max_num_instances == 110
    (line,) = (x for x in lost_objects(task) if "max_num_instances" in x)
    assert "cuts 5 of 118 objects, in 1 of 3 images (limit 110)" in line


def test_a_limit_that_was_set_is_kept_and_its_loss_told(folder):
    task = task_for(folder, train_data={"parser": {"max_num_instances": 50}})
    assert task.train_data.parser.max_num_instances == 50
    (line,) = (x for x in lost_objects(task) if "max_num_instances" in x)
    assert line == (
        "train: max_num_instances cuts 65 of 118 objects, in 1 of 3 images (limit 50): "
        "set task.train_data.parser.max_num_instances to 115"
    )


def test_crowds_take_no_place_in_training(tmp_path):
    boxes = [*of_size(3), (1.0, 1.0, 20.0, 20.0, 1)]
    for split in ("train", "val"):
        write_split(tmp_path, split, [(64, 64, boxes)])
    data = {"parser": {"max_num_instances": 3}}
    task = task_for(tmp_path, train_data=data)
    assert not any("max_num_instances" in line for line in lost_objects(task))
    task = task_for(
        tmp_path,
        train_data={"parser": {"skip_crowd_during_training": False, **data["parser"]}},
    )
    assert any("cuts 1 of 4 objects" in line for line in lost_objects(task))


def test_detections_and_proposals_that_are_too_few(folder):
    lines = lost_objects(task_for(folder))
    expected = [
        # 60 proposals and 8 positive RoIs of tiny.py.
        "train: num_proposals is too low for 55 of 118 objects, in 1 of 3 images",
        "train: a training step has no positive RoI for 107 of 118 objects",
        "val: max_num_detections leaves no detection for 30 of 131 objects",
        "val: AP counts so many detections of an image and class only, as COCO's does, "
        "and misses 30 of 131 objects, in 1 of 2 images (limit 100)",
        "val: test_num_proposals leaves no detection for 70 of 131 objects",
    ]
    for start in expected:
        assert sum(line.startswith(start) for line in lines) == 1, (start, lines)
    assert not lost_objects(task_for(folder), trains=False, evaluates=False)
    only = lost_objects(task_for(folder), evaluates=False)
    assert only
    assert all(line.startswith("train") for line in only)


def test_the_limit_of_ap_is_one_of_each_class():
    rows, classes = np.array([0] * 5 + [1] * 4), np.array([1, 1, 1, 2, 2, 1, 1, 1, 1])
    crowds = np.arange(9) == 8
    split = SplitObjects(
        "val", np.ones([3, 2]), ("a", "b", "c"), rows, np.ones([9, 2]), crowds, classes
    )
    np.testing.assert_array_equal(split.beyond(2), [1, 1, 0])
    np.testing.assert_array_equal(split.beyond(1), [3, 2, 0])
    assert not split.beyond(3).any()


@pytest.mark.parametrize("kind", ["fasterrcnn", "retinanet"])
def test_a_split_that_fits_is_silent(tmp_path, kind):
    for split in ("train", "val"):
        write_split(tmp_path, split, [(64, 64, of_size(2, 32.0))])
    assert lost_objects(task_for(tmp_path, kind)) == []


def test_sizes_at_the_input(tmp_path):
    # 640 pixels become 64: the first box 0.9 pixels, the second 2, the third 60 by 2.
    boxes = [(0, 0, 9, 300), (0, 0, 20, 20), (0, 0, 600, 20), (0, 0, 320, 320)]
    images = [(640, 320, boxes), (15, 10, [])]
    write_split(tmp_path, "train", images)
    write_split(tmp_path, "val", [(64, 64, of_size(1))])
    lines = lost_objects(task_for(tmp_path, "retinanet"))
    starts = [
        "train: 1 of 2 images are enlarged more than 4 times to the input size 64x64",
        "train: 1 of 4 objects are less than a pixel high or wide at the input size",
        "train: 3 of 4 objects are too small for an IoU of 0.5 (match_threshold)",
    ]
    assert len(lines) == len(starts)
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(start)
    model = {"anchor": {"aspect_ratios": [1.0]}, "max_level": 4}
    write_split(tmp_path, "train", [(640, 640, [(0, 0, 600, 200)])])
    lines = lost_objects(task_for(tmp_path, "retinanet", model=model))
    assert "1 of 1 objects are too large or long for an IoU of 0.5" in lines[0]


def test_the_best_iou_by_hand():
    sides = np.array([[10.0, 10.0], [10.0, 40.0], [1.0, 1.0]])
    shapes = np.array([[10.0, 20.0], [20.0, 20.0]])
    found = best_anchor_iou(sides, shapes)
    np.testing.assert_allclose(found, [0.5, 0.5, 1 / 200])


def test_the_anchors_are_the_detectors(folder):
    from libra_tf.models.anchors import anchor_settings, multilevel_anchors

    ratios = {"aspect_ratios": [0.5, 1.0], "num_scales": 2}
    model = task_for(folder, "retinanet", model={"anchor": ratios}).model
    levels = multilevel_anchors((64, 64), **anchor_settings(model)).values()
    boxes = np.concatenate([np.reshape(x[0, 0], [-1, 4]) for x in levels])
    expected = boxes[:, 2:] - boxes[:, :2]
    np.testing.assert_allclose(
        anchors_of(model).sides(levels_of(model)), expected, rtol=1e-5
    )


def test_an_image_of_which_nothing_is_left_is_refused(tmp_path):
    write_split(tmp_path, "train", [(64, 64, []), (20, 4000, of_size(1))])
    write_split(tmp_path, "val", [(64, 64, of_size(1))])
    with pytest.raises(UserError, match=r"1 of 2 images .*\(train2.jpg\)"):
        lost_objects(task_for(tmp_path))
    assert lost_objects(task_for(tmp_path), trains=False) == []


def test_a_folder_of_an_earlier_version(tmp_path):
    for split in ("train", "val"):
        write_split(tmp_path, split, [(64, 64, of_size(115))], with_counts=False)
    split = manifest.load_manifest(tmp_path).split("train")
    assert split.objects_per_image is None
    assert most_per_image(split) == 115
    assert task_for(tmp_path).train_data.parser.max_num_instances == 115


def test_a_folder_without_objects(tmp_path):
    for split in ("train", "val"):
        write_split(tmp_path, split, [(64, 64, [])], with_counts=split == "val")
    (line,) = lost_objects(task_for(tmp_path))
    assert line.startswith("train: none of 1 images has an object")


def test_a_broken_coco_file_is_named(folder):
    (folder / "train.json").write_text('{"images": [], "annotations": [{}]}')
    split = manifest.load_manifest(folder).split("train")
    with pytest.raises(UserError, match=r"train.json: not a COCO annotation file"):
        read_objects(split)


def test_config_check_tells_them(folder, capsys, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "experiment: libra_retinanet_resnetfpn_coco\n"
        "task: {init_checkpoint: x, train_data: {parser: {max_num_instances: 20}}}\n"
    )
    assert main(["config", "check", str(path), "--data", str(folder)]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert "good" in first
    assert any("max_num_instances cuts 95 of 118 objects" in line for line in rest)
    assert main(["config", "check", str(path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def sides_of(*boxes):
    return np.array(boxes, np.float64)


def advised(model, sides, threshold=0.5):
    """Returns the advice, the settings that it names, and what they leave."""
    text = anchor_advice(model, sides, threshold)
    pairs = re.findall(r"task\.model\.anchor\.(\w+)=(\[[^]]*\]|[\d.]+)", text)
    own = {name: json.loads(value) for name, value in pairs}
    own = {k: tuple(v) if isinstance(v, list) else v for k, v in own.items()}
    changed = anchors_of(model)._replace(**own)
    shapes = changed.sides(levels_of(model))
    return text, own, int((best_anchor_iou(sides, shapes) < threshold).sum())


@pytest.mark.parametrize(
    ("sides", "names"),
    [
        (sides_of(*[(5, 5)] * 3, (20, 20)), {"anchor_size"}),
        (sides_of((8, 64), (80, 10), (32, 32)), {"aspect_ratios"}),
        (sides_of((3, 20), (4, 4), (40, 5)), {"anchor_size", "aspect_ratios"}),
    ],
)
def test_the_anchors_that_are_advised_reach_the_objects(folder, sides, names):
    model = task_for(folder, "retinanet").model
    text, own, left = advised(model, sides)
    assert set(own) == names
    assert left == 0
    assert f"which leaves 0 of all {len(sides)} objects so" in text


def test_what_the_advice_leaves_is_told(folder):
    model = task_for(folder, "retinanet").model
    text, _, left = advised(model, sides_of((5, 5), (5, 5), (1, 600)))
    assert left == 1
    assert text.endswith("which leaves 1 of all 3 objects so")


def test_where_no_anchors_help_the_input_size_does(folder):
    model = task_for(folder, "retinanet").model
    text = anchor_advice(model, sides_of((0.1, 0.1)), 0.5)
    assert text.endswith("raise task.model.input_size")
