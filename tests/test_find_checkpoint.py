"""weights.find_checkpoint: which checkpoint a path means."""

import pytest
import tensorflow as tf

from libra_tf.errors import UserError
from libra_tf.experiments import NAMES
from libra_tf.experiments.saved import dump_params, get_experiment
from libra_tf.weights.find_checkpoint import find_checkpoint


def save(folder, prefix, *steps):
    checkpoint = tf.train.Checkpoint(x=tf.Variable(0.0))
    manager = tf.train.CheckpointManager(
        checkpoint, str(folder), max_to_keep=5, checkpoint_name=prefix
    )
    for step in steps:
        manager.save(checkpoint_number=step)


@pytest.fixture
def run(tmp_path):
    """The folder of a run with two checkpoints and a best one."""
    folder = tmp_path / "run"
    save(folder, "ckpt", 400, 800)
    save(folder / "best_ckpt", "best_ckpt", 400)
    (folder / "params.yaml").write_text(dump_params(get_experiment(NAMES[2])))
    return folder


def found(path, **kwargs):
    result = find_checkpoint(str(path), **kwargs)
    assert result.params.experiment == NAMES[2]
    return result.path


def test_a_run_means_its_best_checkpoint(run):
    assert found(run) == f"{run}/best_ckpt/best_ckpt-400"
    assert found(f"{run}/") == f"{run}/best_ckpt/best_ckpt-400"


def test_the_newest_on_request(run):
    assert found(run, newest=True) == f"{run}/ckpt-800"


def test_averaged_weights_are_what_was_evaluated(run):
    save(run / "ema_checkpoints", "average_weights", 700)
    assert found(run) == f"{run}/best_ckpt/best_ckpt-400"
    assert found(run, newest=True) == f"{run}/ema_checkpoints/average_weights-700"
    assert found(run / "ckpt-800") == f"{run}/ckpt-800"


def test_a_run_without_a_best_one(run):
    for file in (run / "best_ckpt").iterdir():
        file.unlink()
    assert found(run) == f"{run}/ckpt-800"
    (run / "best_ckpt").rmdir()
    assert found(run) == f"{run}/ckpt-800"


def test_a_folder_of_checkpoints_in_a_run(run):
    assert found(run / "best_ckpt") == f"{run}/best_ckpt/best_ckpt-400"


@pytest.mark.parametrize(
    "name", ["ckpt-400", "ckpt-400.index", "best_ckpt/best_ckpt-400"]
)
def test_a_prefix_means_itself(run, name):
    assert found(run / name) == str(run / name).removesuffix(".index")


@pytest.mark.parametrize(
    ("here", "path"),
    [
        (".", "."),
        (".", "ckpt-800"),
        (".", "best_ckpt"),
        ("best_ckpt", "."),
        ("best_ckpt", "best_ckpt-400"),
    ],
)
def test_paths_from_inside_a_run(run, monkeypatch, here, path):
    monkeypatch.chdir(run / here)
    assert tf.io.gfile.exists(found(path) + ".index")


def test_a_prefix_that_is_not_there(run):
    with pytest.raises(UserError, match="ckpt-9: no such checkpoint"):
        find_checkpoint(str(run / "ckpt-9"))


def test_a_folder_without_checkpoints(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path}: no checkpoint in this folder"):
        find_checkpoint(str(tmp_path))


def test_a_checkpoint_without_its_experiment(run):
    (run / "params.yaml").unlink()
    with pytest.raises(UserError, match=r"no params.yaml beside the checkpoint or one"):
        find_checkpoint(str(run))
