"""weights.start: a training that begins with a trained detector (`--init`)."""

import os

import exporters
import pytest
import tensorflow as tf
import tiny

from libra_tf.data.cached import converted
from libra_tf.errors import UserError
from libra_tf.experiments.resolve import resolve
from libra_tf.experiments.saved import PARAMS_FILE, dump_params
from libra_tf.weights.start import experiment_of, start_from


@pytest.fixture
def trained(tmp_path, records):
    """The folder of a run, as far as it is read."""
    params = tiny.experiment("libra_retinanet_resnetfpn_coco")
    params.override({"task": {"dataset": records, "model": {"num_classes": 0}}})
    resolve(params)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / PARAMS_FILE).write_text(dump_params(params))
    for name in ("ckpt-20", "best_ckpt/ckpt-10"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        saved = tf.train.Checkpoint(x=tf.Variable(1.0)).write(str(path))
        tf.compat.v1.train.update_checkpoint_state(str(path.parent), saved)
    return folder


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("", "best_ckpt/ckpt-10"),
        ("ckpt-20", "ckpt-20"),
        ("ckpt-20.index", "ckpt-20"),
        ("best_ckpt", "best_ckpt/ckpt-10"),
    ],
)
def test_which_checkpoint_is_taken(trained, given, taken):
    params = tiny.experiment("libra_fasterrcnn_resnetfpn_coco")
    start_from(params, os.path.join(trained, given))
    assert params.task.init_checkpoint == str(trained / taken)
    assert params.task.init_checkpoint_modules == "all"


def test_a_checkpoint_of_somebody_needs_no_run(trained, tmp_path):
    (trained / PARAMS_FILE).rename(tmp_path / "elsewhere.yaml")
    params = tiny.experiment("libra_fasterrcnn_resnetfpn_coco")
    start_from(params, str(trained / "ckpt-20"))
    assert params.task.init_checkpoint == str(trained / "ckpt-20")
    with pytest.raises(UserError, match=r"no params\.yaml"):
        experiment_of(str(trained / "ckpt-20"))


def test_a_pytorch_file_sets_the_backbone(tmp_path):
    file = tmp_path / "resnet.pth"
    file.touch()
    params = tiny.experiment("libra_fasterrcnn_resnetfpn_coco")
    start_from(params, str(file))
    assert params.task.init_checkpoint == str(file)
    assert params.task.init_checkpoint_modules == "backbone"
    with pytest.raises(UserError, match="tells no experiment; name one with --config"):
        experiment_of(str(file))
    with pytest.raises(UserError, match="no such file"):
        start_from(params, str(tmp_path / "none.pth"))


def test_the_experiment_fits_other_classes(trained, tmp_path):
    """What the run took from its data set is taken from the new one."""
    params = experiment_of(str(trained))
    assert params.experiment == "libra_retinanet_resnetfpn_coco"
    exporters.fiftyone_yolo(tmp_path / "set")
    records = converted(tmp_path / "set")
    params.override({"task": {"dataset": records}})
    resolve(params)
    assert params.task.train_data.input_path.startswith(records)
    assert params.task.annotation_file.startswith(records)
    assert params.task.class_names == ["background", "cat", "dog"]
    assert params.task.model.num_classes == 3


def test_nothing_there(tmp_path):
    params = tiny.experiment("libra_fasterrcnn_resnetfpn_coco")
    with pytest.raises(UserError, match="no such checkpoint"):
        start_from(params, str(tmp_path / "none"))
