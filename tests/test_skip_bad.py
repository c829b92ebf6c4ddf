"""Faults are collected, told once, and skipped only as far as is asked."""

import json
import os

import pytest
import small_sets

from libra_tf.commands.main import main
from libra_tf.data.coco import read_coco
from libra_tf.data.convert import convert, convert_all
from libra_tf.data.faults import NUM_SHOWN, Fault, fault_lines, refusal_lines
from libra_tf.data.manifest import load_manifest
from libra_tf.data.parts import part
from libra_tf.errors import UserError


def spoiled(folder):
    """Two bad pictures of three: one without file, one with a bad box."""
    content = small_sets.coco(folder)
    (folder / "1.png").unlink()
    content["annotations"][3]["bbox"] = [1, 2]
    return read_coco(small_sets.write(folder, content))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_all_faults_are_told_at_once(tmp_path):
    with pytest.raises(UserError) as error:
        convert(spoiled(tmp_path), tmp_path, tmp_path / "out", "val", quiet=True)
    box, picture, cure = str(error.value).splitlines()
    assert "annotation 4: bbox" in box
    assert "image 1 (1.png): " in picture
    assert cure.startswith("2 of 3 pictures are bad")
    assert "--skip-bad" in cure
    assert not (tmp_path / "out").exists()


def test_a_copy_is_told_beside_the_faults_of_another_split(tmp_path, capsys):
    content = small_sets.coco(tmp_path)
    good = read_coco(small_sets.write(tmp_path, content))
    content["annotations"][0]["bbox"] = None
    bad = read_coco(small_sets.write(tmp_path, content))
    with pytest.raises(UserError, match="bbox"):
        convert_all(
            [("train", bad, tmp_path), ("val", good, tmp_path)], tmp_path / "out"
        )
    assert "val: 2 pictures are in another split too" in capsys.readouterr().err


def test_faults_of_a_parted_set_count_once(tmp_path):
    train, val = part(spoiled(tmp_path), 0.5)
    assert (len(train.faults), len(val.faults)) == (1, 0)


def test_a_name_that_is_no_text_is_listed(tmp_path):
    folder, out = small_sets.voc(tmp_path), tmp_path / "out"
    with open(os.fsencode(folder / "Annotations") + b"/caf\xe9.xml", "wb") as file:
        file.write(b"<annotation><object>")
    words = ["--voc", folder, "--split", "train", "--skip-bad=0.9", "--out", out]
    assert main(["data", "convert", *map(str, words)]) == 0
    assert "caf\\udce9.xml" in (out / "train.skipped.txt").read_text()
    assert load_manifest(out).split("train").num_images == 3


def test_faults_and_strict_findings_are_told_together(tmp_path):
    content = small_sets.coco(tmp_path)
    (tmp_path / "1.png").unlink()
    content["annotations"][5]["bbox"] = [35, 5, 10, 10]
    dataset = read_coco(small_sets.write(tmp_path, content))
    with pytest.raises(UserError) as error:
        convert(dataset, tmp_path, tmp_path / "out", "val", quiet=True, strict=True)
    picture, *found = str(error.value).splitlines()
    assert "image 1 (1.png)" in picture
    assert any("1 box crossed the border" in line for line in found)
    assert all(line.endswith("convert without --strict") for line in found)


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_pictures_are_left_out_and_listed(tmp_path, workers):
    out = tmp_path / "out"
    entry = convert(
        spoiled(tmp_path), tmp_path, out, "val", quiet=True, skip_bad=0.7,
        workers=workers, num_shards=3,
    )  # fmt: skip
    assert (entry["num_images"], entry["num_annotations"]) == (1, 2)
    assert entry["findings"]["skipped"] == {"count": 2, "first": ["2.png", "1.png"]}
    lines = (out / "val.skipped.txt").read_text().splitlines()
    assert [line.split(": ")[1] for line in lines if "bbox" in line] == ["annotation 4"]
    assert any("1.png" in line for line in lines)
    kept = json.loads((out / "val.json").read_text())
    assert [image["id"] for image in kept["images"]] == [3]
    assert {a["image_id"] for a in kept["annotations"]} == {3}


def test_pictures_that_break_while_read_leave_their_shard_short(tmp_path):
    import tensorflow as tf

    content, out = small_sets.coco(tmp_path), tmp_path / "out"
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:500])
    dataset = read_coco(small_sets.write(tmp_path, content))
    convert(dataset, tmp_path, out, "val", quiet=True, skip_bad=0.4, num_shards=3)
    files = load_manifest(out).split("val")
    assert (files.num_shards, files.num_images) == (3, 2)
    records = tf.data.TFRecordDataset(sorted(map(str, out.glob("val-*"))))
    assert len(list(records)) == 2


def test_a_later_conversion_without_bad_pictures_removes_the_list(tmp_path):
    out = tmp_path / "out"
    convert(spoiled(tmp_path), tmp_path, out, "val", quiet=True, skip_bad=1.0)
    assert (out / "val.skipped.txt").exists()
    good = read_coco(small_sets.write(tmp_path, small_sets.coco(tmp_path)))
    convert(good, tmp_path, out, "val", quiet=True)
    assert not (out / "val.skipped.txt").exists()


def test_more_than_the_share_is_refused(tmp_path):
    out = tmp_path / "out"
    good = read_coco(small_sets.write(tmp_path, small_sets.coco(tmp_path)))
    convert(good, tmp_path, out, "val", quiet=True)
    before = contents(out)
    with pytest.raises(UserError, match="2 of 3 pictures are bad, more than the share"):
        convert(spoiled(tmp_path), tmp_path, out, "val", quiet=True, skip_bad=0.5)
    assert contents(out) == before


def test_no_good_picture_is_refused(tmp_path):
    dataset = spoiled(tmp_path)
    (tmp_path / "3.png").unlink()
    with pytest.raises(UserError, match="no good pictures"):
        convert(dataset, tmp_path, tmp_path / "out", "val", quiet=True, skip_bad=1.0)


def test_a_refused_split_keeps_the_others_from_changing(tmp_path):
    train, val, out = tmp_path / "train", tmp_path / "val", tmp_path / "out"
    good = read_coco(small_sets.write(train, small_sets.coco(train, seed=1)))
    first = small_sets.coco(val)
    (val / "2.png").unlink()
    bad = read_coco(small_sets.write(val, first))
    sources = [("val", bad, val), ("train", good, train), ("test", bad, val)]
    with pytest.raises(UserError) as error:
        convert_all(sources, out, quiet=True)
    assert str(error.value).count("2.png") == 4  # Two splits, name and path.
    assert not out.exists()


def test_pictures_of_splits_that_are_converted_together(tmp_path):
    good = read_coco(small_sets.write(tmp_path, small_sets.coco(tmp_path)))
    sources = [(split, good, tmp_path) for split in ("train", "val")]
    entries = convert_all(sources, tmp_path / "out", quiet=True)
    assert "shared_pictures" not in entries["train"]["findings"]
    assert entries["val"]["findings"]["shared_pictures"]["count"] == 3


def test_a_class_whose_pictures_are_bad_has_no_object(tmp_path):
    content, out = small_sets.coco(tmp_path), tmp_path / "out"
    content["categories"].append({"id": 3, "name": "bird"})
    content["annotations"][0]["category_id"] = 3
    (tmp_path / "1.png").write_bytes(b"")
    dataset = read_coco(small_sets.write(tmp_path, content))
    entry = convert(dataset, tmp_path, out, "val", quiet=True, skip_bad=0.5)
    assert entry["findings"]["no_example"]["first"] == ["bird"]


def test_the_first_lines_and_the_number_of_others():
    faults = [Fault(f"line {k}", k) for k in range(NUM_SHOWN + 5)]
    lines = fault_lines(faults)
    assert len(lines) == NUM_SHOWN + 1
    assert lines[-2:] == [f"line {NUM_SHOWN - 1}", "and 5 more"]


def test_what_is_no_pictures_fault_cannot_be_skipped():
    assert refusal_lines([Fault("all of it")], 5, 1.0) == ["all of it"]


def test_the_share_counts_pictures_not_faults():
    faults = [Fault("a", 1), Fault("b", 1), Fault("c", "image_id 9")]
    assert refusal_lines(faults, 200, 0.01) == []
    assert refusal_lines(faults, 199, 0.01) != []


@pytest.mark.parametrize("share", ["-0.1", "1.1", "nan", "cells"])
def test_a_share_lies_in_0_to_1(capsys, share):
    with pytest.raises(SystemExit):
        main(["data", "convert", f"--skip-bad={share}", "--out", "o"])
    assert "write --skip-bad after DIR" in capsys.readouterr().err


def test_the_default_share_is_one_percent(tmp_path, capsys):
    content = small_sets.coco(tmp_path)
    content["annotations"][0]["bbox"] = None
    path = small_sets.write(tmp_path, content)
    words = ["--images", tmp_path, "--annotations", path, "--split", "val"]
    words += ["--out", tmp_path / "out", "--skip-bad"]
    assert main(["data", "convert", *map(str, words), "--workers", "1"]) == 2
    assert (
        "1 of 3 pictures are bad, more than the share 0.01" in capsys.readouterr().err
    )


def test_info_tells_what_was_found(tmp_path, capsys):
    out = tmp_path / "out"
    convert(spoiled(tmp_path), tmp_path, out, "val", quiet=True, skip_bad=0.7)
    assert main(["data", "info", str(out)]) == 0
    assert "found: 2 bad pictures were skipped" in capsys.readouterr().out


@pytest.mark.parametrize("image_id", [9, None])
def test_an_object_of_no_known_image_is_no_picture(tmp_path, capsys, image_id):
    """One of seven objects is lost, none of three pictures."""
    content = small_sets.coco(tmp_path)
    lone = {**content["annotations"][0], "id": 77, "image_id": image_id}
    content["annotations"].append(lone)
    source = read_coco(small_sets.write(tmp_path, content))
    out = tmp_path / "out"
    with pytest.raises(UserError, match="1 of 7 objects are of no known image, more"):
        convert(source, tmp_path, out, "val", skip_bad=0.1)
    entry = convert(source, tmp_path, out, "val", skip_bad=0.2)
    assert (entry["num_images"], entry["num_annotations"]) == (3, 6)
    assert "skipped" not in entry["findings"]
    assert entry["findings"]["orphans"]["count"] == 1
    assert small_sets.is_said("orphans", capsys.readouterr().err)
    assert "annotation 77: image_id" in (out / "val.skipped.txt").read_text()
    with pytest.raises(UserError) as error:
        convert(source, tmp_path, tmp_path / "strict", "val", skip_bad=1, strict=True)
    assert small_sets.is_said("orphans", str(error.value))
