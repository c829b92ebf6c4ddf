"""`libra data`: exit codes, summaries, and one line for every mistake."""

import json
import os
import subprocess
import sys

import pytest

from libra_tf.commands.main import main

PROBE = """\
import sys
from libra_tf.data import convert, describe, synthesize, tfrecord, voc, workers
print([name for name in ("tensorflow", "official", "PIL") if name in sys.modules])
"""


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """A folder made by the command itself."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    words = ["data", "synthesize", folder, "--train", 6, "--val", 2, "--size", 64]
    assert main([*map(str, words)]) == 0
    return folder


def call(capsys, *words):
    """Runs the command; returns exit code, stdout and stderr."""
    capsys.readouterr()
    code = main(["data", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_from_shapes_to_summary(shapes, tmp_path, capsys):
    out = tmp_path / "tfr"
    code, text, _ = call(capsys, "convert", shapes, "--out", out, "--json")
    assert code == 0
    summary = json.loads(text)
    assert list(summary["splits"]) == ["train", "val"]
    assert summary["splits"]["train"]["num_images"] == 6
    assert len(list(out.glob("*.tfrecord"))) == 2
    code, text, _ = call(capsys, "info", out, "--json")
    assert code == 0
    train = json.loads(text)["splits"]["train"]
    boxes = summary["splits"]["train"]["num_annotations"]
    assert train["num_annotations"] == boxes
    assert sum(train["per_class"].values()) == boxes
    assert sum(train["per_size"].values()) == boxes
    assert train["images_without_boxes"] == 0
    code, text, _ = call(capsys, "info", out)
    assert code == 0
    assert text.startswith("num_classes: 4 (with background)\ntrain: 6 images")


def test_one_split_from_its_parts(shapes, tmp_path, capsys):
    source = ["--images", shapes / "images/val", "--annotations"]
    source += [shapes / "annotations/instances_val.json", "--split", "val"]
    options = ["--out", tmp_path, "--shards", 2, "--no-masks", "--workers", 1]
    code, _, err = call(capsys, "convert", *source, *options)
    assert code == 0
    assert "val: 2/2 images" in err
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "dataset.json",
        "val-00000-of-00002.tfrecord",
        "val-00001-of-00002.tfrecord",
        "val.hashes.json",
        "val.json",
    ]


def test_one_split_of_a_folder(shapes, tmp_path, capsys):
    words = ["convert", shapes, "--split", "val", "--out", tmp_path, "--workers", 1]
    assert call(capsys, *words)[0] == 0
    content = json.loads((tmp_path / "dataset.json").read_text())
    assert list(content["splits"]) == ["val"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["convert", "--out", "OUT"], "name one source"),
        (["convert", "a", "--voc", "b", "--out", "OUT"], "name one source"),
        (["convert", "--annotations", "a.json", "--out", "OUT"], "name one source"),
        (["convert", "nowhere", "--out", "OUT"], "nowhere: no such folder"),
        (["convert", "--voc", "nowhere", "--out", "OUT"], "nowhere: no such folder"),
        (
            ["convert", "--images", "a", "--annotations", "b", "--out", "OUT"],
            "--split",
        ),
        (["info", "nowhere"], "libra data convert"),
        (["convert", "a", "--out", ""], "--out is empty"),
        (["convert", "a", "--out", "FOREIGN"], "holds train.json, which no conversion"),
        (["synthesize", "OUT", "--size", "5"], "size 5"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_two(tmp_path, capsys, words, text):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/train.json").write_text("{}")
    places = {"OUT": tmp_path / "out", "FOREIGN": tmp_path / "foreign"}
    code, out, err = call(capsys, *(str(places.get(word, word)) for word in words))
    assert (code, out) == (2, "")
    assert err.startswith("libra: error: ")
    assert err.count("\n") == 1
    assert text in err


def test_strict_refuses(shapes, tmp_path, capsys):
    path = tmp_path / "a.json"
    content = json.loads((shapes / "annotations/instances_val.json").read_text())
    content["annotations"][0]["bbox"][2] = 500
    path.write_text(json.dumps(content))
    source = ["--images", shapes / "images/val", "--annotations", path]
    source += ["--split", "val", "--out", tmp_path / "out"]
    code, _, err = call(capsys, "convert", *source, "--strict")
    assert code == 2
    assert "annotations 1" in err
    code, _, err = call(capsys, "convert", *source)
    assert code == 0
    assert "1 box crossed the border" in err


@pytest.mark.parametrize("verb", ["convert", "synthesize", "info"])
def test_help_has_an_example(capsys, verb):
    with pytest.raises(SystemExit) as end:
        main(["data", verb, "--help"])
    assert end.value.code == 0
    assert f"libra data {verb} " in capsys.readouterr().out.split("example")[1]


def test_bad_numbers_are_refused_by_the_parser(capsys):
    with pytest.raises(SystemExit) as end:
        main(["data", "convert", "x", "--out", "y", "--workers", "0"])
    assert end.value.code == 2
    assert "not positive" in capsys.readouterr().err


def test_workers_load_neither_tensorflow_nor_model_garden():
    run = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_shapes_become_training_data_of_model_garden(shapes, tmp_path, capsys):
    """The task's own input pipeline reads the converted folder."""
    import tensorflow as tf
    from official.vision.configs import maskrcnn
    from official.vision.tasks.maskrcnn import MaskRCNNTask

    from libra_tf.data import load_manifest

    out = tmp_path / "tfr"
    assert call(capsys, "convert", shapes, "--out", out, "--workers", 1)[0] == 0
    manifest = load_manifest(out)
    config = maskrcnn.MaskRCNNTask()
    config.model.num_classes = manifest.num_classes
    config.model.input_size = [64, 64, 3]
    config.model.include_mask = True
    config.train_data.input_path = manifest.split("train").tfrecords
    config.train_data.global_batch_size = 2
    config.train_data.dtype = "float32"
    config.train_data.parser.max_num_instances = 10
    dataset = MaskRCNNTask(config).build_inputs(config.train_data)
    images, labels = next(iter(dataset))
    assert images.shape == (2, 64, 64, 3)
    real = labels["gt_classes"] > 0
    assert 0 < int(tf.reduce_sum(tf.cast(real, tf.int32))) <= 16
    assert float(tf.reduce_max(labels["gt_masks"])) == 1.0


def test_command_line_program(tmp_path):
    words = ["data", "synthesize", "s", "--train", "1", "--val", "1", "--json"]
    run = subprocess.run(
        [sys.executable, "-m", "libra_tf.commands.main", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["splits"]["val"]["num_images"] == 1
