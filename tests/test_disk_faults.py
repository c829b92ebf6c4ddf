"""Disks that are full, gone or closed, and memory that does not suffice."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import resource
import shutil
from types import SimpleNamespace

import pytest
import tensorflow as tf
import tiny

from libra_tf.commands.main import main
from libra_tf.errors import UserError
from libra_tf.files import disk
from libra_tf.training.memory_errors import named_memory_errors
from libra_tf.training.runner import run


@contextlib.contextmanager
def largest_file(size):
    """No file of this process can grow beyond, as under a quota."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


def test_a_quota_ends_a_conversion_in_one_line(tmp_path, capsys):
    main(["data", "synthesize", str(tmp_path / "set"), "--train", "3"])
    words = ["data", "convert", str(tmp_path / "set"), "--out", str(tmp_path / "out")]
    capsys.readouterr()
    with largest_file(3000):
        assert main(words) == 2
    error = capsys.readouterr().err
    assert "File too large" in error
    assert "Traceback" not in error
    assert not (tmp_path / "out" / "dataset.json").exists()
    assert main(words) == 0


@pytest.mark.parametrize("error", [OSError(28, "No space left on device", "/tmp/x")])
def test_the_place_and_what_is_free_are_told(error):
    text = str(disk.disk_fault(error, needed=5_000_000))
    assert text.startswith("/tmp/x: No space left on device (")
    assert "MB free there, 5.0 MB needed" in text


@pytest.mark.parametrize("name", ["folder", "n" * 300])
def test_a_folder_or_a_long_name_where_a_file_is_written(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=name), disk.named_disk_errors():
        (tmp_path / name).write_text("")


@pytest.mark.parametrize("number", ["EISDIR", "ENOTDIR", "EACCES", "EROFS", "EIO"])
def test_space_is_not_told_where_it_is_beside_the_point(number, tmp_path):
    error = OSError(getattr(errno, number), "What it is", str(tmp_path))
    assert str(disk.disk_fault(error, needed=5)) == f"{tmp_path}: What it is"
    text = f"{tmp_path}/x; Is a directory"
    fault = disk.disk_fault(tf.errors.FailedPreconditionError(None, None, text), 5)
    assert str(fault) == text


def test_an_error_of_tensorflow():
    with pytest.raises(tf.errors.OpError) as error:
        tf.io.write_file("/proc/none/x", "text")
    assert "/proc/none" in str(disk.disk_fault(error.value))
    with pytest.raises(tf.errors.OpError) as error:
        tf.reshape(tf.zeros([4]), [3])
    assert disk.disk_fault(error.value) is None


def test_too_little_space_is_told_before_training(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    disk.require_space(str(tmp_path / "not" / "yet"), free // 2)
    with pytest.raises(UserError, match=r"a checkpoint takes .* MB, and this disk has"):
        disk.require_space(str(tmp_path), 2 * free)


def test_memory_that_does_not_suffice():
    task = SimpleNamespace(
        train_data=SimpleNamespace(global_batch_size=8),
        model=SimpleNamespace(input_size=[640, 480, 3]),
    )
    with (
        pytest.raises(UserError, match=r"out of memory .* 8 images of 640x480"),
        named_memory_errors(SimpleNamespace(task=task)),
    ):
        tf.zeros([10**7, 10**6])


def experiment(records):
    params = tiny.experiment("libra_retinanet_resnetfpn_coco")
    params.override({"task": {"dataset": records, "model": {"num_classes": 0}}})
    params.override({"trainer": {"checkpoint_interval": 2, "train_steps": 6}})
    return params


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("params.yaml", "is a folder, but a file is needed"),
        ("metrics.jsonl", "is a folder, but a file is needed"),
        ("orbit.log", "is a folder, but a file is needed"),
        ("validation", "is a file, but a folder is needed"),
        ("best_ckpt", "is a file, but a folder is needed"),
    ],
)
def test_what_cannot_be_written_is_told_before_anything_changes(
    name, message, records, tmp_path
):
    """Of a run that was killed before its first checkpoint."""
    metrics = tmp_path / "metrics.jsonl"
    if name != metrics.name:
        metrics.write_text('{"kind": "train", "step": 1}\ngarbage\n')
    (tmp_path / "ckpt-2_temp").mkdir()
    if "folder," in message:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).touch()
    before = contents(tmp_path)
    stream = io.StringIO()
    with pytest.raises(UserError) as error:
        run(experiment(records), "train", str(tmp_path), stream=stream)
    assert str(error.value) == f"{tmp_path / name}: {message}; move it away"
    assert not stream.getvalue()
    assert contents(tmp_path) == before


def test_data_that_are_refused_change_nothing_in_a_run(records, tmp_path):
    params = experiment(records)
    params.override({"task": {"train_data": {"input_path": str(tmp_path / "none")}}})
    (tmp_path / "metrics.jsonl").write_text('{"kind": "train", "step": 1}\n')
    before = contents(tmp_path)
    with pytest.raises(UserError, match="no file matches"):
        run(params, "train", str(tmp_path), stream=io.StringIO())
    assert contents(tmp_path) == before


def test_metrics_that_are_a_folder_are_told_before_an_evaluation(records, tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(UserError, match=r"metrics.jsonl: is a folder"):
        run(experiment(records), "eval", str(tmp_path), stream=io.StringIO())


def contents(folder):
    """What a folder holds, but for the lock."""
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if path.name != ".lock"
    }


@pytest.mark.slow
@pytest.mark.parametrize("background", [False, True])
def test_a_quota_ends_a_training_in_one_line(background, records, tmp_path, short_step):
    """Events and metrics fit in, a checkpoint does not; its save may be in a thread."""
    with (
        largest_file(100_000),
        pytest.raises(UserError, match=r"File too large.* needed"),
    ):
        run(
            experiment(records),
            "train",
            str(tmp_path),
            async_checkpoints=background,
            stream=io.StringIO(),
        )
    lines = (tmp_path / "metrics.jsonl").read_text()
    assert '"step": 2' in lines
    assert '"step": 6' not in lines
    assert tf.train.latest_checkpoint(str(tmp_path)) is None
    stream = io.StringIO()
    run(experiment(records), "train", str(tmp_path), stream=stream)
    assert "removed what a killed save had left: ckpt-2_temp" in stream.getvalue()
    assert not [name for name in os.listdir(tmp_path) if "_temp" in name]
    assert tf.train.latest_checkpoint(str(tmp_path)).endswith("ckpt-6")
