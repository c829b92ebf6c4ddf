"""Folders: finding splits before conversion, reading the manifest after it."""

import json
import os

import pytest
import small_sets

from libra_tf.data.layout import find_layout, layout_sources
from libra_tf.data.manifest import add_split, load_manifest
from libra_tf.data.records import Category
from libra_tf.errors import UserError

ENTRY = {
    "num_images": 5,
    "num_annotations": 9,
    "tfrecords": "val-*.tfrecord",
    "num_shards": 2,
    "annotations": "val.json",
    "masks": False,
}
CATEGORIES = (Category(1, "cat"), Category(7, "dog"))


def annotations(tmp_path, *names, image="a.jpg"):
    folder = tmp_path / "annotations"
    folder.mkdir(exist_ok=True)
    content = {
        "categories": [{"id": 1, "name": "x"}],
        "images": [{"id": 1, "file_name": image, "width": 4, "height": 4}],
        "annotations": [],
    }
    for name in names:
        (folder / f"instances_{name}.json").write_text(json.dumps(content))


def image(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_splits_come_in_order_train_first(tmp_path):
    annotations(tmp_path, "val2017", "train2017", "extra", "test")
    names = [source.name for source in find_layout(tmp_path).sources]
    assert names == ["train", "val", "test", "extra"]


@pytest.mark.parametrize(
    "folder", ["images/val2017", "images/val", "val2017", "val", "images"]
)
def test_image_folder_is_where_the_first_image_lies(tmp_path, folder):
    annotations(tmp_path, "val2017")
    image(tmp_path, "images/val2017/other.jpg")
    image(tmp_path, f"{folder}/a.jpg")
    ((name, _, found),) = layout_sources(tmp_path)
    assert (name, found) == ("val", tmp_path / folder)


def test_pictures_of_another_split_are_not_taken(tmp_path):
    """Both splits may have an `a.jpg`; of a half unpacked set only one is there."""
    annotations(tmp_path, "train", "val")
    image(tmp_path, "images/train/a.jpg")
    with pytest.raises(UserError, match=r"instances_val.json: its image a.jpg is in"):
        list(layout_sources(tmp_path))
    with pytest.raises(UserError, match=r"instances_val.json: its image a.jpg is in"):
        list(layout_sources(tmp_path, "val"))


def test_a_folder_that_cannot_be_read_is_told_of(tmp_path, monkeypatch):
    def walk(root, onerror, followlinks):
        onerror(PermissionError(13, "Permission denied", f"{root}/valid"))
        return iter(())

    monkeypatch.setattr("os.walk", walk)
    with pytest.raises(UserError, match="valid: cannot be read: Permission denied"):
        find_layout(tmp_path)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    for name in ("a.xml", "a.json"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="Pascal VOC"):
        find_layout(tmp_path)


def test_file_names_with_a_folder(tmp_path):
    annotations(tmp_path, "val", image="val/a.jpg")
    image(tmp_path, "images/val/a.jpg")
    ((_, _, found),) = layout_sources(tmp_path)
    assert found == tmp_path / "images"


def test_one_split_of_several(tmp_path):
    annotations(tmp_path, "train", "val")
    image(tmp_path, "images/a.jpg")
    assert [name for name, *_ in layout_sources(tmp_path, "val")] == ["val"]
    with pytest.raises(UserError, match="no split 'test'; there are: train, val"):
        list(layout_sources(tmp_path, "test"))


def test_two_files_for_one_split(tmp_path):
    annotations(tmp_path, "train2014", "train2017")
    with pytest.raises(UserError, match=r"train2014.*train2017.*both the split train"):
        find_layout(tmp_path)


def test_images_that_are_nowhere(tmp_path):
    annotations(tmp_path, "train")
    with pytest.raises(UserError, match=r"instances_train\.json.*a\.jpg.*--images"):
        list(layout_sources(tmp_path))


@pytest.fixture
def converted(tmp_path):
    """A converted folder with the split val in two (empty) shards."""
    for name in ("val-00000-of-00002.tfrecord", "val-00001-of-00002.tfrecord"):
        (tmp_path / name).touch()
    (tmp_path / "val.json").write_text("{}")
    add_split(tmp_path, "val", CATEGORIES, ENTRY)
    return tmp_path


def test_manifest_gives_absolute_paths(converted, monkeypatch):
    monkeypatch.chdir(converted.parent)
    manifest = load_manifest(converted.name)
    assert manifest.folder == str(converted)
    assert manifest.class_names == {1: "cat", 7: "dog"}
    assert manifest.num_classes == 8
    split = manifest.split("val")
    assert split.tfrecords == str(converted / "val-*.tfrecord")
    assert split.annotation_file == str(converted / "val.json")
    assert (split.num_images, split.num_annotations, split.masks) == (5, 9, False)


def test_unknown_split_lists_the_others(converted):
    with pytest.raises(UserError, match="no split 'train'; there are: val"):
        load_manifest(converted).split("train")


def test_folder_without_manifest_says_how_to_make_one(tmp_path):
    with pytest.raises(UserError, match=r"no dataset\.json in .*libra data convert"):
        load_manifest(tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("val-00001-of-00002.tfrecord", "1 files instead of the 2 of split val"),
        ("val.json", "convert split val again"),
    ],
)
def test_missing_files_are_told(converted, name, words):
    (converted / name).unlink()
    with pytest.raises(UserError, match=words):
        load_manifest(converted)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"format": 2}',
        '{"format": 1, "categories": [{"id": 1, "name": "x"}]}',
        '{"format": 1, "categories": [{"id": 1, "name": "x"}], "splits": []}',
        '{"format": 1, "categories": [{"id": 1, "name": "x"}], "splits": {"a": {}}}',
        '{"format": 1, "categories": [], "splits": {}}',
        '{"format": 1, "categories": [3], "splits": {}}',
    ],
)
def test_broken_manifest_is_named(tmp_path, content):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(UserError, match=r"dataset\.json"):
        load_manifest(tmp_path)


def test_adding_a_split_keeps_the_others(converted):
    other = {**ENTRY, "tfrecords": "test-*.tfrecord"}
    add_split(converted, "test", CATEGORIES, other)
    content = json.loads((converted / "dataset.json").read_text())
    assert list(content["splits"]) == ["test", "val"]


@pytest.mark.parametrize(
    ("new", "merged"),
    [
        (CATEGORIES[:1], {1: "cat", 7: "dog"}),
        ((Category(8, "owl"),), {1: "cat", 7: "dog", 8: "owl"}),
        ((Category(3, "owl"),), {1: "cat", 3: "owl", 7: "dog"}),
    ],
)
def test_other_classes_extend_the_list_where_ids_stay(converted, new, merged):
    add_split(converted, "train", new, ENTRY)
    content = json.loads((converted / "dataset.json").read_text())
    assert {c["id"]: c["name"] for c in content["categories"]} == merged
    assert content["num_classes"] == max(merged) + 1


@pytest.mark.parametrize("new", [Category(7, "owl"), Category(2, "dog")])
def test_a_class_that_contradicts_the_others_is_refused(converted, new):
    with pytest.raises(UserError, match=rf"than val: {new.id} is {new.name}.*7 dog"):
        add_split(converted, "train", (new,), ENTRY)


def test_files_of_other_names_are_told_beside_usual_ones(tmp_path):
    annotations(tmp_path, "train")
    image(tmp_path, "images/train/a.jpg")
    source = tmp_path / "annotations" / "instances_train.json"
    for name in ("extra", "person_keypoints_train", "notes"):
        text = "{}" if name == "notes" else source.read_text()
        source.with_name(f"{name}.json").write_text(text)
    ((_, dataset, _),) = layout_sources(tmp_path)
    assert dataset.findings["splits_left"].first == ["annotations/extra.json"]


def test_lists_of_other_names_are_told_beside_usual_ones(tmp_path):
    small_sets.voc(tmp_path)
    sets = tmp_path / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    for name in ("train", "extra", "cat_train"):
        (sets / f"{name}.txt").write_text("1\n2\n")
    ((_, dataset, _),) = layout_sources(tmp_path)
    assert dataset.findings["splits_left"].first == ["ImageSets/Main/extra.txt"]
    ((name, dataset, _),) = layout_sources(tmp_path, "extra")
    assert name == "extra"
