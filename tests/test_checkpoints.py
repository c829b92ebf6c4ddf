"""Which checkpoint a run goes on from, what is tidied, and which one is the best."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from libra_tf.errors import UserError
from libra_tf.files.damaged import DAMAGED
from libra_tf.training import runner
from libra_tf.training.best_checkpoint import BestCheckpoint
from libra_tf.training.checkpoints import CheckpointManager
from libra_tf.training.resume import find_start
from libra_tf.weights.restore import checkpoint_path


def checkpoint_of(weight=1.0):
    model = tf_keras.Sequential([tf_keras.layers.Dense(1)])
    model.build([None, 1])
    optimizer = tf_keras.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)
    step = tf.Variable(0, dtype=tf.int64)
    model.trainable_variables[0].assign([[weight]])
    return tf.train.Checkpoint(model=model, optimizer=optimizer, global_step=step)


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of steps 10, 20 and 30, and a line of metrics for each 10 to 40."""
    checkpoint = checkpoint_of()
    manager = tf.train.CheckpointManager(checkpoint, str(tmp_path), max_to_keep=3)
    for step in (10, 20, 30):
        checkpoint.global_step.assign(step)
        manager.save(checkpoint_number=step)
    lines = [json.dumps({"kind": "train", "step": step}) for step in (10, 20, 30, 40)]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"kind": "tra']))
    return tmp_path


def poison(folder, step):
    """The checkpoint of a step gets a NaN, as older versions would save it."""
    bad = checkpoint_of(np.nan)
    bad.global_step.assign(step)
    bad.write(f"{folder}/ckpt-{step}")


def steps_in_metrics(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def test_a_good_run_goes_on_from_its_newest(folder):
    start = find_start(str(folder))
    assert (start.step, start.faults) == (30, {})
    before = set(os.listdir(folder))
    assert list(start.tidy()) == [
        "metrics.jsonl: 1 line of steps after 30 was taken out; these steps come again",
        "metrics.jsonl: its last line, which a kill had cut off, was taken out",
    ]
    assert set(os.listdir(folder)) == before
    assert steps_in_metrics(folder) == [10, 20, 30]


def test_a_poisoned_checkpoint_is_passed_over(folder):
    poison(folder, 30)
    start = find_start(str(folder))
    assert start.step == 20
    assert os.path.exists(folder / "ckpt-30.index"), "found, not yet changed"
    line, metrics, _ = start.tidy()
    assert metrics.startswith("metrics.jsonl: 2 lines of steps after 20 were taken")
    assert line.startswith("ckpt-30 is damaged (model/")
    assert "is not finite) and was moved to damaged/; going on from ckpt-20" in line
    assert line.endswith("so 10 steps come again")
    assert tf.train.latest_checkpoint(str(folder)).endswith("ckpt-20")
    assert (folder / DAMAGED / "ckpt-30.index").exists()
    assert steps_in_metrics(folder) == [10, 20]
    assert list(find_start(str(folder)).tidy()) == []
    manager = tf.train.CheckpointManager(checkpoint_of(), str(folder), max_to_keep=2)
    assert [path[-7:] for path in manager.checkpoints] == ["ckpt-10", "ckpt-20"]
    manager.save(checkpoint_number=40)
    assert not (folder / "ckpt-10.index").exists(), "kept for ever"


@pytest.mark.parametrize("damage", ["cut", "flipped", "no data", "no index"])
def test_a_damaged_checkpoint_is_passed_over(folder, damage):
    data, index = folder / "ckpt-30.data-00000-of-00001", folder / "ckpt-30.index"
    if damage == "cut":
        os.truncate(data, data.stat().st_size // 2)
    elif damage == "flipped":
        content = bytearray(data.read_bytes())
        content[0] ^= 255
        data.write_bytes(content)
    else:
        (data if damage == "no data" else index).unlink()
    start = find_start(str(folder))
    assert start.step == 20
    assert "ckpt-30 is damaged" in next(start.tidy())
    assert find_start(str(folder)).step == 20


def test_a_checkpoint_under_the_name_of_another_is_passed_over(folder):
    """Whole and good, but of step 10: the run would go on with the wrong weights."""
    for path in folder.glob("ckpt-10.*"):
        shutil.copy(path, folder / path.name.replace("10", "30"))
    start = find_start(str(folder))
    assert start.step == 20
    fault = "ckpt-30 is damaged (it is of step 10, another's under its name)"
    assert next(start.tidy()).startswith(fault)


def test_numbers_of_another_checkpoint_are_passed_over(folder):
    """As large as its own, and good where they come from."""
    data = "ckpt-{}.data-00000-of-00001"
    other = checkpoint_of(7.0)
    other.global_step.assign(30)
    other.write(str(folder / "other"))
    shutil.copy(folder / "other.data-00000-of-00001", folder / data.format(30))
    start = find_start(str(folder))
    assert start.step == 20
    assert "ckpt-30 is damaged" in next(start.tidy())


def test_a_checkpoint_without_a_step_is_passed_over(folder):
    tf.train.Checkpoint(model=checkpoint_of().model).write(f"{folder}/ckpt-30")
    assert find_start(str(folder)).step == 20


def test_what_is_damaged_is_found_again_where_it_could_not_be_moved(folder):
    poison(folder, 30)
    (folder / DAMAGED).touch()
    with pytest.raises(UserError, match="damaged: this folder cannot be made"):
        list(find_start(str(folder)).tidy())
    (folder / DAMAGED).unlink()
    assert list(find_start(str(folder)).faults) == [f"{folder}/ckpt-30"]


def test_damaged_checkpoints_only(folder):
    for step in (10, 20, 30):
        poison(folder, step)
    before = sorted(os.listdir(folder))
    with pytest.raises(UserError, match=r"damaged checkpoints only \(ckpt-30: model/"):
        find_start(str(folder))
    assert sorted(os.listdir(folder)) == before


def test_leftovers_of_killed_saves_go(folder):
    (folder / "ckpt-40_temp").mkdir()
    (folder / "ckpt-40_temp" / "part-00000-of-00001.data-00000-of-00001").touch()
    (folder / "ckpt-40.data-00000-of-00001").touch()
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    draft = f".params.yaml.{gone.stdout.strip()}.tmp"
    (folder / draft).touch()
    (folder / f".params.yaml.{os.getpid()}.tmp").touch()
    (folder / "notes_temp").mkdir()
    (folder / "notes_temp" / "mine").touch()
    best = folder / "best_ckpt"
    tf.train.CheckpointManager(checkpoint_of(), str(best), max_to_keep=1).save()
    (best / "best_ckpt-9_temp").mkdir()
    lines = list(find_start(str(folder)).tidy(best=False))
    assert lines[:-2] == [
        "removed what a killed save had left: ckpt-40_temp, "
        f"ckpt-40.data-00000-of-00001, {draft}",
    ]
    assert (folder / f".params.yaml.{os.getpid()}.tmp").exists()
    assert list(find_start(str(folder)).tidy()) == [
        "removed what a killed save had left: best_ckpt-9_temp"
    ]
    assert (folder / "notes_temp" / "mine").exists()
    assert find_start(str(folder)).step == 30


def test_checkpoints_are_due_at_multiples(tmp_path):
    checkpoint = checkpoint_of()
    step = checkpoint.global_step

    def manager():
        made = CheckpointManager(
            checkpoint, str(tmp_path), 9, step_counter=step, checkpoint_interval=10
        )
        made.restore_or_initialize()
        return made

    def saved(made, number):
        step.assign(number)
        return made.save(checkpoint_number=number) is not None

    first = manager()
    assert [saved(first, n) for n in (5, 12, 15)] == [False, True, False]
    step.assign(15)
    assert first.save(checkpoint_number=15, check_interval=False)
    resumed = manager()
    assert int(step) == 15
    wanted = {18: False, 24: True, 28: False, 30: True}
    assert {n: saved(resumed, n) for n in wanted} == wanted
    assert resumed.save(checkpoint_number=30, check_interval=False) is None


def test_a_checkpoint_of_another_folder_is_not_taken(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "checkpoint").write_text(f'model_checkpoint_path: "{folder}/ckpt-30"')
    with pytest.raises(UserError, match="is lost, broken or names another"):
        find_start(str(copy))


def test_runs_within_a_run_are_let_alone(folder):
    other = folder / "other"
    tf.train.CheckpointManager(checkpoint_of(), str(other), max_to_keep=1).save()
    (other / "params.yaml").touch()
    (other / "ckpt-9_temp").mkdir()
    list(find_start(str(folder)).tidy())
    assert (other / "ckpt-9_temp").is_dir()


@pytest.mark.parametrize("name", ["a[1]", "a*", "a?"])
def test_a_folder_that_tensorflow_takes_for_a_pattern(tmp_path, name):
    """It would find no checkpoint there, and begin at step 0."""
    with pytest.raises(UserError, match="TensorFlow finds no checkpoints in a folder"):
        runner.run(None, "train", str(tmp_path / name))
    with pytest.raises(UserError, match="rename it"):
        checkpoint_path(str(tmp_path / name))
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_that_cannot_be_reached_is_not_damaged(folder, monkeypatch):
    def refuse(_):
        raise tf.errors.PermissionDeniedError(None, None, "Permission denied")

    monkeypatch.setattr(tf.train, "load_checkpoint", refuse)
    with pytest.raises(tf.errors.PermissionDeniedError):
        find_start(str(folder))


# The best


def best_of(folder):
    return BestCheckpoint(str(folder), "AP", "higher")


def test_the_best_is_kept_with_its_note(tmp_path):
    best, checkpoint = best_of(tmp_path), checkpoint_of()
    values = [np.nan, -1.0, 0.2, 0.1, np.nan, 0.3]
    logs = [{"AP": np.float32(value), "loss": np.float32(1)} for value in values]
    found = [
        best.maybe_export_checkpoint(checkpoint, one, step)
        for step, one in enumerate(logs)
    ]
    assert found == [False, False, True, False, False, True]
    note = json.loads((tmp_path / "info.json").read_text())
    assert note["AP"] == pytest.approx(0.3)
    assert note["best_ckpt_global_step"] == 5
    assert best_of(tmp_path).best_ckpt_logs["AP"] == pytest.approx(0.3)
    assert [p.name for p in tmp_path.glob("*.index")] == ["best_ckpt-5.index"]


def test_before_there_is_a_best(tmp_path):
    best = best_of(tmp_path)
    assert not best.has_best
    assert np.isnan(best.best_ckpt_logs["AP"])


BROKEN_NOTES = [
    "", "{", "[]", '{"loss": 1}', '{"AP": "high"}', '{"AP": NaN}', '{"AP": Infinity}',
    '{"AP": true}', '{"AP": -1}', "[" * 200_000,
]  # fmt: skip


@pytest.mark.parametrize("note", BROKEN_NOTES, ids=range(len(BROKEN_NOTES)))
def test_a_broken_note_counts_as_none(tmp_path, note):
    (tmp_path / "info.json").write_text(note)
    best = best_of(tmp_path)
    assert not best.has_best
    assert best.maybe_export_checkpoint(checkpoint_of(), {"AP": 0.1}, 3)
    assert json.loads((tmp_path / "info.json").read_text())["AP"] == 0.1


def test_a_note_is_not_without_its_checkpoint(tmp_path, monkeypatch):
    best = best_of(tmp_path)

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(CheckpointManager, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        best.maybe_export_checkpoint(checkpoint_of(), {"AP": 0.1}, 3)
    assert not (tmp_path / "info.json").exists()
    assert not best_of(tmp_path).has_best
