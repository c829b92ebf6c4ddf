"""What TensorBoard reads of a run that goes on from an earlier step."""

import os

import pytest
import tensorflow as tf
from event_scalars import event_scalars

from libra_tf.training.event_files import PATTERN, cut_events


def write(folder, steps):
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default():
        for step in steps:
            tf.summary.scalar("loss", step / 2, step=step)
    writer.close()


def test_later_steps_go(tmp_path):
    write(tmp_path / "train", [10, 20, 30, 40])
    write(tmp_path / "validation", [20, 40])
    assert cut_events([tmp_path / "train", tmp_path / "validation"], 20) == 3
    write(tmp_path / "train", [30, 40])
    assert event_scalars(tmp_path / "train", "loss") == [
        (10, 5),
        (20, 10),
        (30, 15),
        (40, 20),
    ]
    assert event_scalars(tmp_path / "validation", "loss") == [(20, 10)]
    assert not list(tmp_path.rglob(".*"))


def test_files_without_later_steps_are_not_touched(tmp_path):
    write(tmp_path, [10, 20])
    (path,) = tmp_path.glob(PATTERN)
    before = os.stat(path)
    assert cut_events([tmp_path], 20) == 0
    assert os.stat(path).st_ino == before.st_ino


@pytest.mark.parametrize("cut", [1, 20])
def test_what_a_kill_cut_off_goes(tmp_path, cut):
    write(tmp_path, [10, 20])
    (path,) = tmp_path.glob(PATTERN)
    path.write_bytes(path.read_bytes()[:-cut])
    assert cut_events([tmp_path], 20) == 1
    assert event_scalars(tmp_path, "loss") == [(10, 5)]


def test_an_empty_file(tmp_path):
    (tmp_path / "events.out.tfevents.1.a.v2").touch()
    assert cut_events([tmp_path], 0) == 0


@pytest.mark.parametrize("content", [b"\x1f\x8b backup", b"x" * 500])
def test_what_is_no_event_file_stays(tmp_path, content):
    path = tmp_path / "events.out.tfevents.1.gz"
    path.write_bytes(content)
    (tmp_path / "events.out.tfevents.folder").mkdir()
    (tmp_path / "events.out.tfevents.link").symlink_to(tmp_path / "nowhere")
    with tf.io.TFRecordWriter(str(tmp_path / "events.out.tfevents.2")) as writer:
        writer.write(b"\xff\xff no event")
    assert cut_events([tmp_path], 0) == 0
    assert path.read_bytes() == content


def test_runs_within_the_folder_are_let_alone(tmp_path):
    write(tmp_path / "first" / "train", [10, 20])
    write(tmp_path / "train", [10])
    assert cut_events([tmp_path / "train"], 0) == 1
    assert len(event_scalars(tmp_path / "first", "loss")) == 2
