"""Ids of any kind: what becomes of them in the records, and back in detections."""

import json
from dataclasses import replace

import pytest
import small_sets

from libra_tf.commands.main import main
from libra_tf.data.class_list import one_class_list
from libra_tf.data.coco import read_categories, read_coco
from libra_tf.data.convert import convert, convert_all
from libra_tf.data.faults import refuse_faults
from libra_tf.data.ids import MAX_CATEGORY_ID, MAX_ID, number_ids, settle_zero
from libra_tf.data.manifest import file_ids_of, load_manifest
from libra_tf.errors import UserError
from libra_tf.evaluation.coco import evaluate_detections
from libra_tf.evaluation.evaluator import CocoEvaluator
from libra_tf.evaluation.file_ids import FileIds


def renamed(content, categories=None, images=None):
    """Gives the categories and images of a COCO file other ids."""
    for kind, ids in (("categories", categories or {}), ("images", images or {})):
        field = "category_id" if kind == "categories" else "image_id"
        for record in content[kind]:
            record["id"] = ids.get(record["id"], record["id"])
        for annotation in content["annotations"]:
            annotation[field] = ids.get(annotation[field], annotation[field])
    return content


def read(folder, content):
    dataset = read_coco(small_sets.write(folder, content))
    refuse_faults(dataset.faults)
    return dataset


def run(folder, content, split="train"):
    """Converts; returns the folder."""
    out = folder / "out"
    convert(read(folder, content), folder, out, split, quiet=True)
    return out


def test_numbers_stay_and_others_fill_the_gaps():
    keys = ["b", 3, -4, MAX_ID + 1, 1, "b", 0]
    assert number_ids(keys, 1, MAX_ID) == {
        "b": 2, 3: 3, -4: 4, MAX_ID + 1: 5, 1: 1, 0: 6
    }  # fmt: skip


@pytest.mark.parametrize("own", ["cats", -1, MAX_CATEGORY_ID + 1, 2**70, "1.5"])
def test_category_ids_that_cannot_stay(tmp_path, own):
    content = renamed(small_sets.coco(tmp_path), categories={2: own})
    out = run(tmp_path, content)
    assert load_manifest(out).class_names == {1: "cat", 2: "dog"}
    assert file_ids_of(out) == {2: own}
    written = json.loads((out / "train.json").read_text())
    assert [a["category_id"] for a in written["annotations"]] == [1, 2] * 3


@pytest.mark.parametrize("own", ["photo", -1, 2**63, 10**30])
def test_image_ids_that_cannot_stay(tmp_path, own):
    content = renamed(small_sets.coco(tmp_path), images={2: own})
    out = run(tmp_path, content)
    written = json.loads((out / "train.json").read_text())["images"]
    assert [(i["id"], i.get("file_id")) for i in written] == [
        (1, None), (2, own), (3, None)
    ]  # fmt: skip
    assert [i.file_id for i in read_coco(out / "train.json").images] == [
        None, own, None
    ]  # fmt: skip


def test_a_number_as_text_is_the_number_and_is_written_back_as_text(tmp_path):
    content = renamed(small_sets.coco(tmp_path), images={2: "7"})
    content["annotations"][2]["image_id"] = 7
    dataset = read(tmp_path, content)
    assert (dataset.images[1].id, dataset.images[1].file_id) == (7, "7")
    assert len(dataset.images[1].annotations) == 2


def test_sparse_category_ids_stay(tmp_path):
    content = renamed(small_sets.coco(tmp_path), categories={2: MAX_CATEGORY_ID})
    assert read(tmp_path, content).categories[1].id == MAX_CATEGORY_ID


def test_an_unused_category_zero_is_dropped(tmp_path):
    content = small_sets.coco(tmp_path)
    content["categories"].insert(0, {"id": 0, "name": "animals"})
    out = run(tmp_path, content)
    assert load_manifest(out).class_names == {1: "cat", 2: "dog"}
    assert file_ids_of(out) == {}


def test_an_unused_category_zero_may_have_the_name_of_another(tmp_path):
    content = small_sets.coco(tmp_path)
    content["categories"].append({"id": 0, "name": "cat"})
    assert load_manifest(run(tmp_path, content)).class_names == {1: "cat", 2: "dog"}
    content["annotations"][0]["category_id"] = 0
    with pytest.raises(UserError, match="'cat' occurs twice"):
        run(tmp_path, content)


def test_a_used_category_zero_moves_all(tmp_path):
    content = renamed(small_sets.coco(tmp_path), categories={1: 0, 2: 90})
    out = run(tmp_path, content)
    manifest = json.loads((out / "dataset.json").read_text())
    assert manifest["categories"] == [
        {"id": 1, "name": "cat", "file_id": 0},
        {"id": 91, "name": "dog", "file_id": 90},
    ]
    assert manifest["num_classes"] == 92


def test_the_highest_id_leaves_room_to_move(tmp_path):
    ids = {1: 0, 2: MAX_CATEGORY_ID}
    out = run(tmp_path, renamed(small_sets.coco(tmp_path), categories=ids))
    assert file_ids_of(out) == {1: 0, 2: MAX_CATEGORY_ID}


def test_splits_move_together(tmp_path):
    """Though one of them has no object of category 0."""
    train = read(tmp_path, renamed(small_sets.coco(tmp_path), categories={1: 0, 2: 1}))
    other = tmp_path / "val"
    content = renamed(small_sets.coco(other, seed=1), categories={1: 0, 2: 1})
    content["annotations"] = content["annotations"][1::2]
    val = read(other, content)
    sources = {"train": (train, tmp_path), "val": (val, other)}
    together, later = tmp_path / "together", tmp_path / "later"
    convert_all([(k, *v) for k, v in sources.items()], together, quiet=True)
    for split, (dataset, images) in sources.items():
        convert(dataset, images, later, split, quiet=True)
    for out in (together, later):
        assert file_ids_of(out) == {1: 0, 2: 1}
        found = json.loads((out / "val.json").read_text())["annotations"]
        assert {a["category_id"] for a in found} == {2}


def test_moving_happens_once(tmp_path):
    content = renamed(small_sets.coco(tmp_path), categories={1: 0, 2: 1})
    out = run(tmp_path, content)
    again = read_coco(out / "train.json")
    (settled,) = settle_zero([again], moved=True)
    assert settled.categories == again.categories


def test_the_only_category_must_be_used(tmp_path):
    dataset = read(tmp_path, small_sets.coco(tmp_path))
    lonely = (replace(dataset.categories[0], id=0),)
    images = tuple(replace(image, annotations=()) for image in dataset.images)
    with pytest.raises(UserError, match="no classes"):
        settle_zero([replace(dataset, categories=lonely, images=images)])


def test_a_manifest_has_no_category_zero():
    with pytest.raises(UserError, match="category 0: id must lie in"):
        read_categories({"categories": [{"id": 0, "name": "x"}]}, "f")


@pytest.fixture
def converted(tmp_path):
    """A file whose ids are all others in the records."""
    content = small_sets.coco(tmp_path)
    content = renamed(content, {1: 0, 2: "dogs"}, {1: "one", 2: -2, 3: 2**65})
    return content, run(tmp_path, content, "val") / "val.json"


def perfect(content):
    """Detections of all objects, under the file's own ids."""
    fields = ("image_id", "category_id", "bbox")
    return [{k: a[k] for k in fields} | {"score": 0.9} for a in content["annotations"]]


def test_detections_are_read_with_the_files_own_ids(converted, tmp_path, capsys):
    content, annotations = converted
    found = tmp_path / "detections.json"
    found.write_text(json.dumps(perfect(content)))
    words = ["eval", "--detections", found, "--annotations", annotations, "--json"]
    assert main([*map(str, words)]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["AP"] == 1.0


def test_numbers_of_the_records_are_not_the_files_ids(converted):
    content, annotations = converted
    wrong = [{**d, "category_id": 1} for d in perfect(content)]
    with pytest.raises(UserError, match="category ids not in the annotation file: 1"):
        evaluate_detections(annotations, wrong)


def test_detections_are_written_with_the_files_own_ids(converted, tmp_path):
    content, annotations = converted
    dataset = read_coco(annotations)
    evaluator = CocoEvaluator(annotations)
    evaluator.update_state(None, predictions(dataset))
    assert evaluator.result()["AP"] == 1.0
    path = tmp_path / "d.json"
    evaluator.save_detections(path)
    written = json.loads(path.read_text())
    kinds = {(d["image_id"], d["category_id"]) for d in written}
    assert kinds == {(a["image_id"], a["category_id"]) for a in content["annotations"]}
    assert evaluate_detections(annotations, path).summary["AP"] == 1.0


def predictions(dataset):
    """The objects of a data set as Model Garden's outputs."""
    import numpy as np

    boxes = [[a.bbox for a in image.annotations] for image in dataset.images]
    x, y, w, h = np.moveaxis(np.array(boxes, np.float32), -1, 0)
    classes = [[a.category_id for a in image.annotations] for image in dataset.images]
    count = len(dataset.images)
    size = [[[small_sets.HEIGHT, small_sets.WIDTH], [64, 64], [1, 1], [0, 0]]]
    return {
        "source_id": np.array([image.id for image in dataset.images]),
        "image_info": np.array(size * count, np.float32),
        "num_detections": np.full(count, len(boxes[0])),
        "detection_boxes": np.stack([y, x, y + h, x + w], axis=-1),
        "detection_classes": np.array(classes),
        "detection_scores": np.full(np.shape(classes), 0.9, np.float32),
    }


def test_file_ids_of_strangers_mean_nothing(tmp_path):
    content = small_sets.coco(tmp_path)
    for record in [*content["images"], *content["categories"]]:
        record["file_id"] = 1000 + record["id"]
    path = small_sets.write(tmp_path, content)
    assert read_coco(path).images[0].file_id is None
    assert evaluate_detections(path, perfect(content)).summary["AP"] == 1.0


@pytest.mark.parametrize("together", [True, False])
def test_each_split_is_written_with_its_own_ids(tmp_path, together):
    """Of `val` cat is 2 and dog is 7, of `train` cat is 1 and dog is 2."""
    train = read(tmp_path, small_sets.coco(tmp_path))
    other = tmp_path / "val"
    val = read(other, renamed(small_sets.coco(other, seed=1), categories={1: 2, 2: 7}))
    out = tmp_path / "both"
    classes = ["cat", "dog"]
    train, val = one_class_list([train, val], classes)
    sources = [("train", train, tmp_path), ("val", val, other)]
    if together:
        convert_all(sources, out, quiet=True)
    else:
        for split, dataset, images in reversed(sources):
            convert(dataset, images, out, split, quiet=True)
    assert file_ids_of(out) == file_ids_of(out, "train") == {}
    assert file_ids_of(out, "val") == {1: 2, 2: 7}
    listed = json.loads((out / "dataset.json").read_text())["categories"]
    assert listed == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    results = [{"image_id": 1, "category_id": key} for key in (1, 2)]
    for split, own in (("train", [1, 2]), ("val", [2, 7])):
        ids = FileIds.of(json.loads((out / f"{split}.json").read_text()))
        written = ids.write(results)
        assert [r["category_id"] for r in written] == own
        assert ids.read(written) == results


def test_a_class_that_a_split_lacks_takes_no_id_of_its_file(tmp_path):
    """In `val` dog is 1, as cat is in `train`: they are not read as each other."""
    train = read(tmp_path, small_sets.coco(tmp_path))
    other = tmp_path / "val"
    content = renamed(small_sets.coco(other, seed=1), categories={1: 3, 2: 1})
    content["categories"] = [c for c in content["categories"] if c["id"] == 1]
    content["annotations"] = [
        a for a in content["annotations"] if a["category_id"] == 1
    ]
    train, val = one_class_list([train, read(other, content)])
    out = tmp_path / "both"
    convert_all([("train", train, tmp_path), ("val", val, other)], out, quiet=True)
    ids = FileIds.of(json.loads((out / "val.json").read_text()))
    results = [{"image_id": 1, "category_id": key} for key in (1, 2)]
    assert [r["category_id"] for r in ids.write(results)] == [2, 1]
    assert ids.read(ids.write(results)) == results
