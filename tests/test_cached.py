"""data.cached: a folder as an exporter left it, given as --data."""

import os

import exporters
import pytest

from libra_tf.commands.main import main
from libra_tf.data.cached import SOURCE_FILE, converted
from libra_tf.data.manifest import load_manifest
from libra_tf.errors import UserError


@pytest.fixture
def folder(tmp_path):
    exporters.yolo_ultralytics(tmp_path / "set")
    return tmp_path / "set"


def times(folder):
    return {f.name: f.stat().st_mtime_ns for f in os.scandir(folder)}


def test_it_is_converted_once(folder, capsys):
    out = converted(folder)
    assert out == f"{folder}_tfr"
    assert f"{folder}: is converted into {out}" in capsys.readouterr().err
    before = times(out)
    assert converted(f"{folder}/") == out
    assert "taken as converted before" in capsys.readouterr().err
    assert times(out) == before
    assert sorted(load_manifest(out).splits) == ["train", "val"]


def test_a_changed_label_converts_again(folder):
    out = converted(folder)
    exporters.write_label(folder / "labels/train/im 1.txt", 1, (0.5, 0.5, 0.2, 0.2))
    converted(folder)
    assert '"bbox": [16.0, 12.0' in (folder.parent / "set_tfr/train.json").read_text()
    exporters.picture(folder / "images/train/more.jpg", 5)
    assert load_manifest(converted(folder)).splits["train"].num_images == 4
    assert out == f"{folder}_tfr"


def test_a_split_that_is_gone_is_gone(folder):
    converted(folder)
    file = folder / "data.yaml"
    file.write_text(file.read_text().replace("val: images/val\n", ""))
    assert list(load_manifest(converted(folder)).splits) == ["train"]


def test_what_is_converted_is_taken_as_it_is(folder, tmp_path):
    out = converted(folder)
    (tmp_path / "set_tfr" / SOURCE_FILE).unlink()
    assert converted(out) == out
    assert converted(tmp_path / "nothing") == str(tmp_path / "nothing")


def test_a_folder_of_somebody_is_not_written_over(folder, tmp_path):
    out = converted(folder)
    for content in ("{}", '{"source": "/elsewhere", "fingerprint": ""}', "{"):
        (tmp_path / "set_tfr" / SOURCE_FILE).write_text(content)
        before = times(out)
        with pytest.raises(UserError, match=r"set_tfr: is there and was not made of"):
            converted(folder)
        assert times(out) == before


def test_what_cannot_be_converted_says_how(folder, tmp_path, capsys):
    exporters.write_label(folder / "labels/val/im2.txt", 1, (20, 10, 5, 5))
    with pytest.raises(UserError, match=r"no fraction of the picture") as caught:
        converted(folder)
    assert f"libra data convert {folder} --out NEW_FOLDER" in str(caught.value)
    assert not (tmp_path / "set_tfr").exists()
    flat = tmp_path / "flat"
    exporters.labelimg_yolo(flat)
    with pytest.raises(UserError, match="--val-fraction"):
        converted(flat)


def test_a_command_takes_it(folder, capsys):
    words = ["config", "check", "bccd/libra_retinanet", "--data", str(folder)]
    assert main(words) == 0, capsys.readouterr().err
