"""What TensorBoard reads of a run that goes on from an earlier step."""

import os

import pytest
import tensorflow as tf
from event_scalars import event_scalars

from libra_tf.training.event_files import PATTERN, cut_events
from libra_tf.training.later_steps import cut_later_steps


def write(folder, steps):
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default():
        for step in steps:
            tf.summary.scalar("loss", step / 2, step=step)
    writer.close()


def later(folders, step):
    """How many events of later steps went, where nothing else did."""
    cuts = cut_events(folders, step)
    assert not [cut for cut in cuts if cut.loses or cut.original]
    return sum(cut.later for cut in cuts)


def begins(path):
    """Where each record begins: the version first, then one for each step."""
    data, found = path.read_bytes(), [0]
    while found[-1] < len(data):
        found.append(found[-1] + 16 + int.from_bytes(data[found[-1] :][:8], "little"))
    return found[:-1]


def overwrite(path, *places, content=b"\xee" * 6):
    data = bytearray(path.read_bytes())
    for place in places:
        data[place : place + len(content)] = content
    path.write_bytes(data)
    return bytes(data)


def test_later_steps_go(tmp_path):
    write(tmp_path / "train", [10, 20, 30, 40])
    write(tmp_path / "validation", [20, 40])
    assert later([tmp_path / "train", tmp_path / "validation"], 20) == 3
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
    assert later([tmp_path], 20) == 0
    assert os.stat(path).st_ino == before.st_ino


@pytest.mark.parametrize("cut", [1, 20])
def test_what_a_kill_cut_off_goes(tmp_path, cut):
    write(tmp_path, [10, 20])
    (path,) = tmp_path.glob(PATTERN)
    path.write_bytes(path.read_bytes()[:-cut])
    (found,) = cut_events([tmp_path], 20)
    assert (found.kept, found.later, found.is_torn) == (1, 0, True)
    assert found.original is None
    assert event_scalars(tmp_path, "loss") == [(10, 5)]


def test_an_empty_file(tmp_path):
    (tmp_path / "events.out.tfevents.1.a.v2").touch()
    assert later([tmp_path], 0) == 0


@pytest.mark.parametrize("content", [b"\x1f\x8b backup", b"x" * 500])
def test_what_is_no_event_file_stays(tmp_path, content):
    path = tmp_path / "events.out.tfevents.1.gz"
    path.write_bytes(content)
    (tmp_path / "events.out.tfevents.folder").mkdir()
    (tmp_path / "events.out.tfevents.link").symlink_to(tmp_path / "nowhere")
    with tf.io.TFRecordWriter(str(tmp_path / "events.out.tfevents.2")) as writer:
        writer.write(b"\xff\xff no event")
    assert later([tmp_path], 0) == 0
    assert path.read_bytes() == content


def test_runs_within_the_folder_are_let_alone(tmp_path):
    write(tmp_path / "first" / "train", [10, 20])
    write(tmp_path / "train", [10])
    assert later([tmp_path / "train"], 0) == 1
    assert len(event_scalars(tmp_path / "first", "loss")) == 2


def test_events_behind_damaged_ones_are_kept(tmp_path):
    write(tmp_path / "train", [10, 20, 30, 40, 50, 60])
    (path,) = (tmp_path / "train").glob(PATTERN)
    at = begins(path)
    before = overwrite(path, at[2] + 14, at[3] + 14)
    folders = [str(tmp_path / "train")]
    taken_out, damaged = cut_later_steps(str(tmp_path), folders, 50)
    kept = f"train/damaged/{path.name.replace('tfevents', 'damaged')}"
    assert taken_out.startswith("TensorBoard's event files: 1 event of steps after 50")
    assert damaged == (
        f"train/{path.name}: 2 events are damaged and left out; 3 events kept; the "
        f"file as it was is {kept}"
    )
    assert (tmp_path / kept).read_bytes() == before
    found = event_scalars(tmp_path, "loss")
    assert [step for step, _ in found] == [10, 40, 50], "what was kept is not read too"
    assert not list(cut_later_steps(str(tmp_path), folders, 50))


def test_a_damaged_length_ends_a_file(tmp_path):
    write(tmp_path, [10, 20, 30])
    (path,) = tmp_path.glob(PATTERN)
    before = overwrite(path, begins(path)[2])
    (line,) = cut_later_steps(str(tmp_path), [str(tmp_path)], 30)
    assert "the length of one event is damaged, so that nothing from there on" in line
    assert "1 event kept; the file as it was is damaged/events.out.damaged." in line
    assert event_scalars(tmp_path, "loss") == [(10, 5)]
    assert next((tmp_path / "damaged").iterdir()).read_bytes() == before


def test_a_damaged_beginning_is_written_anew(tmp_path):
    write(tmp_path, [10, 20, 30])
    (path,) = tmp_path.glob(PATTERN)
    overwrite(path, 14)
    (first,) = cut_events([tmp_path], 30)
    assert (first.kept, first.damaged) == (3, 1)
    assert later([tmp_path], 20) == 1, "the file is one of TensorBoard's again"
    assert event_scalars(tmp_path, "loss") == [(10, 5), (20, 10)]


def test_a_file_that_cannot_be_told_is_named(tmp_path):
    write(tmp_path, [10, 20])
    (path,) = tmp_path.glob(PATTERN)
    before = overwrite(path, 0)
    (line,) = cut_later_steps(str(tmp_path), [str(tmp_path)], 10)
    assert line.startswith(f"{path.name}: was left as it is: it is cut short, or the")
    assert path.read_bytes() == before
