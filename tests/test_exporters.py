"""Folders of the usual exporters, as the table of docs/data.md has them, and others."""

import json
import re

import exporters
import pytest
import small_sets
from doc_pages import ROOT
from exporters import BOX, CLASSES, PICTURES, coco, picture, write_json, write_xml

from libra_tf.commands.main import main
from libra_tf.data.coco import read_coco
from libra_tf.data.faults import refuse_faults
from libra_tf.data.image_names import settle_names
from libra_tf.data.images import find_image
from libra_tf.data.layout import layout_sources
from libra_tf.data.manifest import load_manifest
from libra_tf.data.rules import RULES
from libra_tf.errors import UserError


def rows():
    """The table's rows: exporter, patterns of files, what becomes of them."""
    page = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    table = page.split("| Written by |")[1].split("\n\n")[0].splitlines()[2:]
    for line in table:
        name, files, becomes = (cell.strip() for cell in line.strip("|").split(" | "))
        yield name, re.findall(r"`([^`]+)`", files), re.findall(r"`([^`]+)`", becomes)


ROWS = list(rows())


def test_the_table_has_every_maker():
    assert [name for name, *_ in ROWS] == list(exporters.MAKERS)


def read(folder, *args, **options):
    """Reads all splits, and sees that every image is there."""
    splits = {}
    for name, dataset, image_dir in layout_sources(folder, *args, **options):
        dataset = settle_names(dataset, image_dir)
        refuse_faults(dataset.faults)
        for image in dataset.images:
            assert find_image(image_dir, image.file_name) == image_dir / image.file_name
        splits[name] = dataset
    return splits


def labels(dataset):
    names = {category.id: category.name for category in dataset.categories}
    return [names[a.category_id] for i in dataset.images for a in i.annotations]


@pytest.mark.parametrize(("name", "files", "becomes"), ROWS, ids=[r[0] for r in ROWS])
def test_folder_of_an_exporter(tmp_path, capsys, name, files, becomes):
    """Each row converts by one command, untouched, with every picture and object."""
    folder, out = tmp_path / "set", tmp_path / "out"
    exporters.MAKERS[name](folder)
    for pattern in files:
        assert list(folder.glob(pattern)), pattern
    words = ["data", "convert", str(folder), "--out", str(out), "--workers", "1"]
    if becomes == ["--val-fraction"]:
        assert main(words) == 2
        assert "--val-fraction" in capsys.readouterr().err
        assert not out.exists()
        words, becomes = [*words, "--val-fraction", "0.4"], ["train", "val"]
    assert main(words) == 0, capsys.readouterr().err
    splits = load_manifest(out).splits
    assert sorted(splits) == sorted(becomes)
    assert sum(split.num_images for split in splits.values()) == len(PICTURES)
    for split in splits.values():
        dataset = read_coco(split.annotation_file)
        assert set(CLASSES) <= {category.name for category in dataset.categories}
        boxes = [a.bbox for i in dataset.images for a in i.annotations]
        # YOLO has six decimals of a fraction.
        assert boxes == [pytest.approx(BOX, abs=1e-4)] * len(dataset.images)


# Splits


@pytest.mark.parametrize(
    ("raw", "name"),
    [("train2017", "train"), ("VALID", "val"), ("Testing", "test"), ("dev", "val")],
)
def test_split_words_in_every_layout(tmp_path, raw, name):
    write_json(tmp_path / f"coco/annotations/instances_{raw}.json", coco(["a.jpg"]))
    picture(tmp_path / f"coco/images/{raw}/a.jpg")
    write_json(tmp_path / f"roboflow/{raw}/_annotations.coco.json", coco(["a.jpg"]))
    picture(tmp_path / f"roboflow/{raw}/a.jpg")
    write_xml(tmp_path / f"flat/{raw}/a.xml", 0)
    picture(tmp_path / f"flat/{raw}/a.jpg")
    write_xml(tmp_path / "voc/Annotations/a.xml", 0)
    picture(tmp_path / "voc/JPEGImages/a.jpg")
    (tmp_path / "voc/ImageSets/Main").mkdir(parents=True)
    (tmp_path / f"voc/ImageSets/Main/{raw}.txt").write_text("a\n")
    for folder in ("coco", "roboflow", "flat", "voc"):
        assert list(read(tmp_path / folder)) == [name]
        assert list(read(tmp_path / folder, raw)) == [name]


def test_two_sources_of_one_split_are_both_named(tmp_path):
    for split in ("val", "valid"):
        write_json(tmp_path / f"coco/{split}/_annotations.coco.json", coco(["a.jpg"]))
        picture(tmp_path / f"coco/{split}/a.jpg")
        write_xml(tmp_path / f"flat/{split}/a.xml", 0)
    for folder in ("coco", "flat"):
        with pytest.raises(UserError, match="both the split val") as error:
            read(tmp_path / folder)
        assert f"{folder}/val" in str(error.value)
        assert f"{folder}/valid" in str(error.value)


def test_trainval_is_train_where_it_stands_alone(tmp_path):
    exporters.voc_2012(tmp_path)
    splits = read(tmp_path)
    assert {name: len(d.images) for name, d in splits.items()} == {"train": 3, "val": 2}
    assert splits["train"].findings["lists_left"].first == [
        "ImageSets/Main/trainval.txt"
    ]
    assert len(read(tmp_path, "trainval")["trainval"].images) == 5
    assert len(read(tmp_path, "train_val")["train_val"].images) == 2
    for name in ("train", "val"):
        (tmp_path / f"ImageSets/Main/{name}.txt").unlink()
    assert {name: len(d.images) for name, d in read(tmp_path).items()} == {"train": 5}


def test_only_one_split_and_one_that_is_not_there(tmp_path):
    exporters.roboflow_coco(tmp_path)
    assert list(read(tmp_path, "valid")) == ["val"]
    with pytest.raises(
        UserError, match="no split 'extra'; there are: train, val, test"
    ):
        read(tmp_path, "extra")


def test_a_set_without_splits_is_named_or_parted(tmp_path):
    exporters.labelimg_flat(tmp_path)
    (whole,) = read(tmp_path, "Training").items()
    assert (whole[0], len(whole[1].images)) == ("train", 5)
    first = read(tmp_path, val_fraction=0.4, seed=1)
    names = {name: [i.file_name for i in d.images] for name, d in first.items()}
    assert len(names["train"]) == 3
    assert len(names["val"]) == 2
    assert sorted(names["train"] + names["val"]) == [f"{p}.jpg" for p in PICTURES]
    assert {
        n: d.images for n, d in read(tmp_path, val_fraction=0.4, seed=1).items()
    } == {n: d.images for n, d in first.items()}
    others = [read(tmp_path, val_fraction=0.4, seed=seed) for seed in range(2, 6)]
    assert any(other["val"].images != first["val"].images for other in others)
    for fraction, part in ((0.05, "evaluation"), (0.95, "training")):
        with pytest.raises(UserError, match=f"of 5 images leaves none for {part}"):
            read(tmp_path, val_fraction=fraction)


def test_a_set_with_splits_is_not_parted(tmp_path):
    exporters.cvat_coco(tmp_path)
    with pytest.raises(UserError, match=r"here is the splits train, val"):
        read(tmp_path, val_fraction=0.2)


# Classes


def test_a_split_with_fewer_or_more_classes_in_pascal_voc(tmp_path):
    for split, label in (("train", "dog"), ("val", "cat"), ("test", "owl")):
        path = tmp_path / split / "a.xml"
        path.parent.mkdir()
        path.write_text(exporters.xml(label, "a.jpg"))
        picture(path.with_suffix(".jpg"))
    splits = read(tmp_path)
    for dataset in splits.values():
        ids = {category.id: category.name for category in dataset.categories}
        assert ids == {1: "cat", 2: "dog", 3: "owl"}
    assert labels(splits["test"]) == ["owl"]
    assert splits["val"].findings["classes_added"].first == ["dog", "owl"]
    assert labels(read(tmp_path, "val")["val"]) == ["cat"]
    assert read(tmp_path, "val")["val"].categories == splits["val"].categories
    given = read(tmp_path, classes=["owl", "dog", "cat"])
    assert [c.id for c in given["val"].categories if c.name == "cat"] == [3]


def test_a_split_without_objects(tmp_path):
    write_xml(tmp_path / "train/a.xml", 0)
    (tmp_path / "val").mkdir()
    (tmp_path / "val/b.xml").write_text(
        "<annotation><size><width>40</width><height>30</height></size></annotation>"
    )
    for name in ("train/a.jpg", "val/b.jpg"):
        picture(tmp_path / name)
    assert [c.name for c in read(tmp_path)["val"].categories] == ["cat"]
    (tmp_path / "train/a.xml").unlink()
    with pytest.raises(UserError, match="no objects; give the class names"):
        read(tmp_path)


# Folders and files


@pytest.mark.parametrize(
    "images", ["images", "JPEGImages", "Images", "imgs", "IMG", ""]
)
@pytest.mark.parametrize("annotations", ["annots", "annotations", "Annotations", "xml"])
def test_names_of_folders_in_pascal_voc(tmp_path, annotations, images):
    write_xml(tmp_path / annotations / "sub/a.xml", 0)
    picture(tmp_path / images / "sub/a.jpg")
    write_xml(tmp_path / annotations / "b.xml", 0)
    picture(tmp_path / images / "b.PNG")
    (dataset,) = read(tmp_path, "train").values()
    names = [image.file_name for image in dataset.images]
    assert sorted(names) == ["b.PNG", "sub/a.jpg"]
    assert dataset.findings.as_dict() == {}


def test_a_folder_inside_a_folder(tmp_path):
    exporters.voc_2012(tmp_path / "VOCdevkit/VOC2012")
    assert list(read(tmp_path)) == ["train", "val"]
    exporters.voc_2012(tmp_path / "VOCdevkit/VOC2007")
    with pytest.raises(UserError, match=r"several sets: .*VOC2007.*VOC2012"):
        read(tmp_path)


def test_hidden_files_are_passed_over_and_counted(tmp_path):
    exporters.roboflow_coco(tmp_path / "coco")
    exporters.roboflow_voc(tmp_path / "voc")
    junk = b"\x00\x05\x16\x07 Mac OS X"
    for path in (
        "coco/train/._annotations.coco.json",
        "coco/__MACOSX/train/_annotations.coco.json",
        "voc/train/._a.xml",
        "voc/.ipynb_checkpoints/a.xml",
        "voc/__MACOSX/train/b.xml",
        "voc/train/Thumbs.db",
        "voc/.DS_Store",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(junk)
    for kind, count in (("coco", 2), ("voc", 3)):
        splits = read(tmp_path / kind)
        assert list(splits) == ["train", "val", "test"]
        assert splits["train"].findings["files_hidden"].count == count


def test_pictures_without_annotation_are_counted(tmp_path):
    exporters.folders_of_xml(tmp_path / "split")
    exporters.labelimg_flat(tmp_path / "flat")
    exporters.voc_2012(tmp_path / "listed")
    for name in ("split/images/test/x.jpg", "flat/x.jpg", "listed/JPEGImages/x.jpg"):
        picture(tmp_path / name)
    assert read(tmp_path / "split")["train"].findings["pictures_left"].first == [
        "images/test/x.jpg"
    ]
    flat = read(tmp_path / "flat", "train")["train"]
    assert flat.findings["pictures_left"].first == ["x.jpg"]
    # The lists say which pictures are meant.
    assert read(tmp_path / "listed")["train"].findings["pictures_left"].count == 0


def test_roboflows_root_of_the_name_of_its_only_class(tmp_path):
    """The root, of id 0, has no object: it is dropped, and the class keeps its id."""
    categories = [{"id": 0, "name": "cells"}, {"id": 1, "name": "cells"}]
    for split in ("train", "valid"):
        content = {**coco(["a.jpg"]), "categories": categories}
        for annotation in content["annotations"]:
            annotation["category_id"] = 1
        write_json(tmp_path / split / "_annotations.coco.json", content)
        picture(tmp_path / split / "a.jpg")
    for dataset in read(tmp_path).values():
        assert [(c.id, c.name, c.file_id) for c in dataset.categories] == [
            (1, "cells", None)
        ]
        assert dataset.findings["classes_by_name"].count == 0
        assert dataset.findings["zero_dropped"].count == 1


def test_nothing_found_says_what_was_looked_for_and_what_is_there(tmp_path):
    for name in ("pictures/a.jpg", "pictures/b.jpg", "notes.txt", "._a.xml"):
        picture(tmp_path / name)
    with pytest.raises(UserError) as error:
        read(tmp_path)
    text = str(error.value)
    assert "instances_SPLIT.json" in text
    assert "Pascal VOC" in text
    assert "there is: pictures/, 2 .jpg, 1 .txt, 1 hidden" in text
    with pytest.raises(UserError, match="no such folder"):
        read(tmp_path / "no")
    with pytest.raises(UserError, match="is a file; name its folder"):
        read(tmp_path / "notes.txt")


def test_coco_and_voc_in_one_folder_are_not_guessed(tmp_path):
    exporters.labelimg_flat(tmp_path)
    write_json(tmp_path / "all.json", coco(["im2.jpg"]))
    with pytest.raises(UserError, match=r"all\.json.*--from voc"):
        read(tmp_path)
    assert len(read(tmp_path, "train", form="voc")["train"].images) == 5


def test_xml_of_another_kind_is_named(tmp_path):
    write_xml(tmp_path / "a.xml", 0)
    picture(tmp_path / "a.jpg")
    (tmp_path / "cvat.xml").write_text("<annotations></annotations>")
    with pytest.raises(UserError, match=r"cvat\.xml: .*<annotations>, not Pascal VOC"):
        read(tmp_path, "train")


def test_a_converted_folder_inside_is_no_source(tmp_path):
    exporters.makesense_coco(tmp_path)
    inside = tmp_path / "tfr"
    inside.mkdir()
    write_json(inside / "val.json", coco(["a.jpg"]))
    (inside / "dataset.json").write_text("{}")
    (inside / "val-00000-of-00001.tfrecord").touch()
    assert list(read(tmp_path, "train")) == ["train"]
    with pytest.raises(UserError, match="is converted already"):
        read(inside)


def test_json_in_two_bytes_a_letter(tmp_path):
    exporters.makesense_coco(tmp_path)
    (file,) = tmp_path.glob("*.json")
    file.write_bytes(file.read_text().encode("utf-16"))
    assert len(read(tmp_path, "train")["train"].images) == 5


# Names of images


def coco_set(folder, name, file):
    write_json(folder / "all.json", coco([name]))
    picture(folder / "images" / file)


def voc_set(folder, name, file):
    write_xml(folder / "Annotations/other.xml", 0, filename=name)
    picture(folder / "JPEGImages" / file)


def flat_set(folder, name, file):
    write_xml(folder / "other.xml", 0, filename=name)
    picture(folder / file)


@pytest.mark.parametrize("make", [coco_set, voc_set, flat_set])
@pytest.mark.parametrize(
    ("name", "file", "rule"),
    [
        ("sub\\a.jpg", "sub/a.jpg", "names_spelling"),
        ("a%20b.jpg", "a b.jpg", "names_spelling"),
        ("Zu\u0308rich.jpg", "Z\u00fcrich.jpg", "names_spelling"),
        ("a.jpg", "a.JPG", "names_spelling"),
        ("a.jpg", "a.jpeg", "names_ending"),
        ("/home/x/photos/a.jpg", "a.jpg", "names_tail"),
    ],
)
def test_names_in_every_layout(tmp_path, make, name, file, rule):
    make(tmp_path, name, file)
    (dataset,) = read(tmp_path, "train").values()
    assert [image.file_name for image in dataset.images] == [file]
    assert dataset.findings.as_dict() == {rule: {"count": 1, "first": [name]}}


@pytest.mark.parametrize("make", [coco_set, voc_set, flat_set])
def test_a_name_for_two_files_is_refused_in_every_layout(tmp_path, make):
    make(tmp_path, "a.jpg", "a.png")
    make(tmp_path, "a.jpg", "a.jpeg")
    with pytest.raises(UserError, match=r"a\.jpg.*a\.jpeg or a\.png"):
        read(tmp_path, "train")


# The command


def convert(capsys, *words):
    capsys.readouterr()
    code = main(["data", "convert", *map(str, words), "--workers", "1"])
    out, err = capsys.readouterr()
    return code, out + err


def test_writing_into_the_source_is_refused(tmp_path, capsys):
    folder, file = tmp_path / "set", tmp_path / "set/all.json"
    exporters.makesense_coco(folder)
    write_json(file, coco(["im2.jpg"]))
    part = ("--images", folder, "--annotations", file, "--split", "train")
    before = sorted(folder.rglob("*"))
    for words in ((folder,), ("--voc", folder), part):
        code, text = convert(capsys, *words, "--out", f"{folder}/../set")
        assert (code, text.count("\n")) == (2, 1)
        assert "the source lies there" in text
    (folder / "images").mkdir()
    picture(folder / "images/x.jpg")
    assert convert(capsys, folder, "--out", folder / "images")[0] == 2
    assert sorted(folder.glob("*.json")) == [f for f in before if f.suffix == ".json"]


def test_a_refused_conversion_leaves_no_folder(tmp_path, capsys):
    folder, out = tmp_path / "set", tmp_path / "deep/out"
    exporters.roboflow_voc(folder)
    (folder / "train/bad.xml").write_text("<annotation>")
    assert convert(capsys, folder, "--out", out)[0] == 2
    (folder / "train/bad.xml").unlink()
    next((folder / "train").glob("*.jpg")).write_bytes(b"no picture")
    assert convert(capsys, folder, "--out", out)[0] == 2
    assert not out.parent.exists()
    out.mkdir(parents=True)
    assert convert(capsys, folder, "--out", out)[0] == 2
    assert out.exists(), "an empty folder that was there stays"


def test_given_classes_hold_for_coco(tmp_path, capsys):
    folder, out = tmp_path / "set", tmp_path / "out"
    exporters.cvat_coco(folder)
    words = (folder, "--out", out, "--classes")
    assert "class 'dog' is not among" in convert(capsys, *words, "cat")[1]
    assert convert(capsys, *words, "owl,dog,cat")[0] == 0
    assert load_manifest(out).class_names == {1: "owl", 2: "dog", 3: "cat"}


def test_parting_a_file_and_one_image(tmp_path, capsys):
    folder, out = tmp_path / "set", tmp_path / "out"
    exporters.makesense_coco(folder)
    (file,) = folder.glob("*.json")
    words = ("--images", folder, "--annotations", file, "--out", out)
    assert "--val-fraction" in convert(capsys, *words)[1]
    code, text = convert(capsys, *words, "--val-fraction", "0.2")
    assert code == 0
    assert "train: 4 images, 4 boxes\nval: 1 image, 1 box\n" in text
    assert main(["data", "info", str(out)]) == 0
    assert "at most 1 box in an image" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        convert(capsys, *words, "--val-fraction", "1.5")
    assert "does not lie between 0 and 1" in capsys.readouterr().err


def test_one_split_extends_the_classes_of_another(tmp_path, capsys):
    for split, label in (("train", "dog"), ("val", "cat")):
        path = tmp_path / split / "a.xml"
        path.parent.mkdir()
        path.write_text(exporters.xml(label, "a.jpg"))
        picture(path.with_suffix(".jpg"))
    out = tmp_path / "out"
    train, val = (("--voc", tmp_path / s, "--split", s) for s in ("train", "val"))
    assert convert(capsys, *train, "--out", out)[0] == 0
    code, text = convert(capsys, *val, "--out", out)
    assert code == 2
    assert "1 is cat here, and there are 1 dog; convert all splits at once" in text
    code, text = convert(capsys, *val, "--out", out, "--classes", "dog,cat")
    assert code == 0, text
    assert load_manifest(out).class_names == {1: "dog", 2: "cat"}


# Where images lie


@pytest.mark.parametrize(
    ("annotations", "name", "file"),
    [
        ("train.json", "a.jpg", "images/a.jpg"),
        ("annotations_train.json", "a.jpg", "train/a.jpg"),
        ("annotations/train.json", "a.jpg", "images/train/a.jpg"),
        ("labels/cells_train.json", "a.jpg", "Images/Training/a.jpg"),
        (
            "train/annotations/instances_default.json",
            "a.jpg",
            "train/images/default/a.jpg",
        ),
        ("annotations/instances_train2017.json", "train2017/a.jpg", "train2017/a.jpg"),
        ("annotations/instances_train.json", "a.jpg", "pics/a.jpg"),
        ("annotations/instances_train.json", "a", "images/a"),
        ("x/annotations/instances_Train.json", "sub/a.jpg", "x/images/train/sub/a.jpg"),
    ],
)
def test_images_of_coco_files(tmp_path, annotations, name, file):
    """Of two pictures of one name, the one of the split is taken."""
    write_json(tmp_path / annotations, coco([name]))
    picture(tmp_path / file)
    if "train" in file.lower():
        picture(tmp_path / "images/val" / name)
    ((split, dataset, image_dir),) = layout_sources(tmp_path)
    assert split == "train"
    assert image_dir / dataset.images[0].file_name == tmp_path / file
    assert settle_names(dataset, image_dir).findings.as_dict() == {}


# What is said


def other_ids(folder):
    exporters.roboflow_coco(folder)
    path = folder / "valid/_annotations.coco.json"
    content = json.loads(path.read_text())
    first, last = content["categories"][-2:]
    first["id"], last["id"] = last["id"], first["id"]
    write_json(path, content)


def fewer_classes(folder):
    exporters.folders_of_xml(folder)
    for path in (folder / "annotations/test").iterdir():
        path.write_text(path.read_text().replace("dog", "owl"))


def hidden(folder):
    exporters.cvat_coco(folder)
    (folder / "annotations/._instances_Train.json").write_bytes(b"\0\5\x16\7")


def left_picture(folder):
    exporters.folders_of_xml(folder)
    picture(folder / "images/train/x.jpg")


SAID = {
    "names_spelling": lambda folder: coco_set(folder, "a.jpg", "a.JPG"),
    "names_ending": lambda folder: flat_set(folder, "a.jpg", "a.jpeg"),
    "names_tail": lambda folder: voc_set(folder, "/home/x/a.jpg", "a.jpg"),
    "classes_by_name": other_ids,
    "classes_added": fewer_classes,
    "files_hidden": hidden,
    "lists_left": exporters.voc_2012,
    "pictures_left": left_picture,
}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("rule", SAID)
def test_what_is_mended_is_said_and_refused_if_strict(tmp_path, capsys, rule, strict):
    SAID[rule](tmp_path / "set")
    one = rule.startswith("names")
    words = [*(["--split", "train"] if one else []), *(["--strict"] if strict else [])]
    code, text = convert(capsys, tmp_path / "set", "--out", tmp_path / "out", *words)
    assert small_sets.is_said(rule, text)
    refused = [line for line in text.splitlines() if "without --strict" in line]
    is_refused = any(small_sets.is_said(rule, line) for line in refused)
    assert is_refused == (strict and RULES[rule].strict)
    assert code == (2 if refused else 0)
    if not strict:
        splits = json.loads((tmp_path / "out/dataset.json").read_text())["splits"]
        assert any(split["findings"].get(rule) for split in splits.values())


def test_what_is_said_of_the_folder_is_said_of_one_split_too(tmp_path):
    hidden(tmp_path)
    assert read(tmp_path, "val")["val"].findings["files_hidden"].count == 1
