"""data.yolo and its layout: lines, where labels and splits lie, what is said."""

import re

import exporters
import numpy as np
import pytest
from exporters import BOX, HEIGHT, PICTURES, WIDTH, picture, write_label, yolo_line
from PIL import Image

from libra_tf.commands.main import main
from libra_tf.data.coco import read_coco
from libra_tf.data.layout import layout_sources
from libra_tf.data.masks import draw_mask
from libra_tf.errors import UserError

FIRST = "labels/train/im 1.txt"


@pytest.fixture
def folder(tmp_path):
    """A set of Ultralytics' layout."""
    exporters.yolo_ultralytics(tmp_path / "set")
    return tmp_path / "set"


def read(folder, **options):
    return {name: data for name, data, _ in layout_sources(folder, **options)}


def convert(folder, capsys, *words):
    out = folder.parent / "out"
    words = [
        "data",
        "convert",
        str(folder),
        "--out",
        str(out),
        "--workers",
        "1",
        *words,
    ]
    code = main(words)
    return code, capsys.readouterr().err


def test_ids_are_those_of_the_files_plus_one(folder):
    data = read(folder)["train"]
    found = [(c.id, c.name, c.file_id) for c in data.categories]
    assert found == [(1, "cat", 0), (2, "dog", 1)]
    assert [a.category_id for i in data.images for a in i.annotations] == [1, 1, 1]


def test_an_outline_is_a_mask(folder, capsys):
    """A triangle: half of its box."""
    (folder / FIRST).write_text("1 0.25 0.2 0.75 0.2 0.25 0.8\n")
    assert convert(folder, capsys)[0] == 0
    data = read_coco(folder.parent / "out" / "train.json")
    (image,) = [i for i in data.images if i.file_name.endswith("im 1.jpg")]
    (found,) = image.annotations
    assert found.bbox == pytest.approx((10, 6, 20, 18))
    assert found.area == pytest.approx(180)
    mask = draw_mask(found.segmentation, HEIGHT, WIDTH)
    assert np.sum(mask) == pytest.approx(180, abs=20)
    assert mask[8, 12]
    assert not mask[20, 28]


def test_fractions_are_of_the_upright_picture(folder):
    file = folder / "images/train/im 1.jpg"
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (HEIGHT, WIDTH)).save(file, exif=exif)
    image = read(folder)["train"].images[0]
    assert (image.width, image.height) == (WIDTH, HEIGHT)
    assert image.annotations[0].bbox == pytest.approx(BOX, abs=1e-4)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0 20 15 10 20", "20 is no fraction of the picture"),
        ("2 .5 .5 .1 .1", "class 2 is none of 0 to 1"),
        ("0.5 .5 .5 .1 .1", "class 0.5 is none of 0 to 1"),
        ("-1 .5 .5 .1 .1", "class -1 is none of 0 to 1"),
        ("0 .5 .5 .1", "has 4 numbers"),
        ("0 .5 .5 .1 .1 .9", "has 6 numbers; .*is the last one a score?"),
        ("0 .1 .1 .5 .5 .5 .1 .1", "has 8 numbers"),
        ("0 .5 .5 nan .1", "'nan' is no finite number"),
        ("0 .5 .5 wide .1", "'wide' is no finite number"),
        ("0 .5 .5 -.1 .1", "at least 0"),
        ("0", "has 1 numbers"),
    ],
)
def test_lines_that_cannot_be_used(folder, line, said, capsys):
    (folder / FIRST).write_text(yolo_line(0) + line + "\n")
    code, err = convert(folder, capsys)
    assert code == 2
    assert f"{folder / FIRST}: line 2: " in err
    assert re.search(said, err), err
    assert convert(folder, capsys, "--skip-bad=0.5")[0] == 0


def test_labels_that_are_no_text(folder, capsys):
    (folder / FIRST).write_bytes(b"0 \xff\xfe\n")
    code, err = convert(folder, capsys)
    assert code == 2
    assert f"{folder / FIRST}: cannot be read: it is no text" in err


def test_keypoints_are_left_out_and_told(folder, capsys):
    file = folder / "data.yaml"
    file.write_text(file.read_text() + "kpt_shape: [2, 3]\n")
    line = yolo_line(0).strip() + " .1 .1 2 .2 .2 1\n"
    (folder / FIRST).write_text(line)
    code, err = convert(folder, capsys)
    assert code == 0
    assert "1 object has keypoints, which were left out" in err
    box = read(folder)["train"].images[0].annotations[0].bbox
    assert box == pytest.approx(BOX, abs=1e-4)


def test_a_picture_without_label_file_has_no_object(folder, capsys):
    (folder / FIRST).unlink()
    code, err = convert(folder, capsys)
    assert code == 0
    assert "train: 1 picture has no label file and was taken as without objects" in err
    assert read(folder)["train"].images[0].annotations == ()


def test_an_empty_label_file_says_so_itself(folder, capsys):
    (folder / FIRST).write_text("\n")
    code, err = convert(folder, capsys, "--strict")
    assert code == 2  # "dog" has one object only
    assert "label file" not in err


def test_labels_in_the_wrong_place_are_not_taken_for_none(folder, capsys):
    (folder / "labels").rename(folder / "boxes")
    code, err = convert(folder, capsys)
    assert code == 2
    assert "none of its 3 pictures has a label file, such as" in err
    assert str(folder / FIRST) in err


def test_a_label_file_without_picture_is_told(folder, capsys):
    (folder / "images/train/im 1.jpg").unlink()
    (folder / "notes.txt").write_text("of somebody")
    code, err = convert(folder, capsys)
    assert code == 2
    assert f"{folder / FIRST}: there is no picture of this name" in err
    assert err.count("there is no picture") == 1


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("train", "C:\\data\\animals\\images\\train"),
        ("train", "../images/train"),
        ("train", "/images/train/"),
        ("val", "[images/val, images/extra]"),
    ],
)
def test_paths_of_another_machine(folder, place, value):
    for name in ("val", "extra"):
        picture(folder / f"images/{name}/more.jpg")
        write_label(folder / f"labels/{name}/more.txt", 0)
    lines = (folder / "data.yaml").read_text().splitlines()
    lines = [f"{place}: {value}" if x.startswith(f"{place}:") else x for x in lines]
    (folder / "data.yaml").write_text("\n".join(lines))
    counts = {name: len(data.images) for name, data in read(folder).items()}
    assert counts == {"train": 3, "val": 4 if "extra" in value else 3}


def test_a_list_of_pictures(folder):
    text = "".join(f"/home/x/set/images/train/{name}.jpg\n" for name in PICTURES[::2])
    (folder / "some.txt").write_text(text)
    file = folder / "data.yaml"
    file.write_text(file.read_text().replace("images/train", "some.txt"))
    assert len(read(folder)["train"].images) == 3
    (folder / "some.txt").write_text("images/train/none.jpg\n")
    with pytest.raises(
        UserError, match=r"some\.txt: line 1: there is no picture images"
    ):
        read(folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "images/train",
            "images/training_set",
            "train: there is no images/training_set",
        ),
        ("  1: dog", "  1: cat", "classes 0 and 1 are both 'cat'"),
        ("  1: dog", "  2: dog", "numbered from 0 without gaps"),
        ("  1: dog", "  1:  ''", "class 1 has no name"),
        ("test:", "nc: 3", "nc is 3, and there are 2 names"),
        ("test:", "test: [3]", "test: 3 is no path"),
        ("names:", "names: [", "cannot be read"),
    ],
)
def test_descriptions_that_cannot_be_used(folder, old, new, said):
    file = folder / "data.yaml"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(UserError, match=said) as caught:
        read(folder)
    assert str(file) in str(caught.value)


def test_two_descriptions_are_not_guessed(folder):
    text = (folder / "data.yaml").read_text()
    (folder / "other.yaml").write_text(text)
    with pytest.raises(UserError, match=r"data\.yaml and .*other\.yaml both describe"):
        read(folder)


def test_a_folder_of_two_forms_needs_a_word(folder, capsys):
    exporters.labelme2coco(folder)
    code, err = convert(folder, capsys)
    assert code == 2
    assert "choose one with --from coco or --from yolo" in err
    assert convert(folder, capsys, "--from", "yolo")[0] == 0


def test_folders_that_are_splits_without_a_description(tmp_path):
    exporters.roboflow_yolo(tmp_path)
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "classes.txt").write_text("cat\ndog\n\n")
    assert sorted(read(tmp_path)) == ["test", "train", "val"]
    for file in (tmp_path / "test").glob("labels/*"):
        file.unlink()
    found = read(tmp_path)
    assert sorted(found) == ["train", "val"]
    assert found["train"].findings["pictures_left"].count == 1


def test_names_of_classes_are_not_guessed(tmp_path, capsys):
    exporters.labelimg_yolo(tmp_path)
    (tmp_path / "classes.txt").unlink()
    code, err = convert(tmp_path, capsys)
    assert code == 2
    assert "YOLO's data.yaml or classes.txt" in err
