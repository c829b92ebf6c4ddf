"""Steps that are not finite: nothing is poisoned, all is told, training can go on."""

from __future__ import annotations

import io
import json
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny
from event_scalars import event_scalars

from libra_tf.commands.main import main
from libra_tf.errors import UserError
from libra_tf.tasks.retinanet import LibraRetinaNetTask
from libra_tf.training.checkpoints import CheckpointManager, fault_of
from libra_tf.training.failed_step import FailedStep, read_dump, write_dump
from libra_tf.training.finite_step import (
    GradientCollector,
    is_finite,
    train_while_finite,
)
from libra_tf.training.runner import run
from libra_tf.training.trainer import create_slots

BAD_IMAGE = 5


# The optimizer


@pytest.mark.parametrize("kind", ["one device", "mirrored"])
@pytest.mark.parametrize("optimizer", [tf_keras.optimizers, tf_keras.optimizers.legacy])
def test_what_is_not_good_changes_nothing(kind, optimizer):
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    if kind == "mirrored":
        strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        sgd = optimizer.SGD(0.1, momentum=0.9)
        layer = tf_keras.layers.Dense(2)
        layer.build([None, 3])
        create_slots(sgd, layer.trainable_variables)

    @tf.function
    def step(gradient):
        def of_replica(gradient):
            collector = GradientCollector(sgd)
            kernel, bias = layer.trainable_variables
            pairs = [(gradient, kernel), (tf.ones_like(bias), bias)]
            collector.apply_gradients(pairs)
            finite = is_finite(collector.gradients)
            collector.apply_if(tf.reduce_all(finite))
            return finite

        return strategy.run(of_replica, args=(gradient,))

    def state():
        slots = sgd.variables() if callable(sgd.variables) else sgd.variables
        return [v.numpy() for v in (*layer.variables, *slots)]

    start = state()
    assert step(tf.ones([3, 2])).numpy().tolist() == [True, True]
    before = state()
    assert not np.array_equal(start[0], before[0])
    for bad in (np.nan, np.inf, -np.inf):
        gradient = np.ones([3, 2], np.float32)
        gradient[1, 1] = bad
        assert step(tf.constant(gradient)).numpy().tolist() == [False, True]
        assert all(map(np.array_equal, before, state()))
    step(tf.ones([3, 2]))
    assert not np.array_equal(before[0], state()[0])


def test_gradients_are_applied_as_the_optimizer_does_it():
    found = []
    for collects in (False, True):
        optimizer = tf_keras.optimizers.SGD(0.1, momentum=0.9)
        kernel = tf.Variable([[1.0, 2.0]])
        for gradient in (0.5, -3.0, 2.0):
            pairs = [(tf.fill([1, 2], gradient), kernel)]
            if collects:
                collector = GradientCollector(optimizer)
                collector.apply_gradients(pairs)
                collector.apply_if(tf.constant(True))
            else:
                optimizer.apply_gradients(pairs)
        found.append(kernel.numpy())
    assert np.array_equal(*found)


@pytest.mark.parametrize(("bad", "steps"), [(None, 5), (3, 3), (1, 1)])
def test_a_loop_ends_at_the_first_bad_step(bad, steps):
    count = tf.Variable(0)

    @tf.function
    def loop():
        def step():
            count.assign_add(1)
            return count != (bad or -1)

        train_while_finite(step, tf.constant(5), lambda: tf.constant(True))

    loop()
    assert count.numpy() == steps


def test_a_checkpoint_with_a_bad_slot_is_not_saved(tmp_path):
    optimizer = tf_keras.optimizers.SGD(0.1, momentum=0.9)
    model = tf_keras.Sequential([tf_keras.layers.Dense(2)])
    model.build([None, 3])
    optimizer.build(model.trainable_variables)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
    manager = CheckpointManager(checkpoint, str(tmp_path), max_to_keep=1)
    good = manager.save()
    slot = optimizer.variables[-1]
    slot.assign(tf.fill(slot.shape, np.nan))
    with pytest.raises(UserError, match="is not finite; nothing was saved"):
        manager.save()
    assert manager.latest_checkpoint == good
    bad = tf.train.Checkpoint(model=model, optimizer=optimizer).save(f"{tmp_path}/bad")
    assert "is not finite" in fault_of(bad)
    assert fault_of(good) is None


# A run


@pytest.fixture
def bad_image(monkeypatch):
    """The gradient of one image is NaN, its losses are as ever."""
    build_losses = LibraRetinaNetTask.build_losses

    def with_bad_gradient(self, outputs, labels, aux_losses=None):
        total, *parts = build_losses(self, outputs, labels, aux_losses)
        if "groundtruths" not in labels:
            is_bad = tf.reduce_any(labels["source_id"] == BAD_IMAGE)
            zero = tf.zeros_like(total) * total
            # sqrt is 0 at 0, and its slope is infinite.
            total += tf.where(is_bad, tf.sqrt(zero), zero)
        return total, *parts

    monkeypatch.setattr(LibraRetinaNetTask, "build_losses", with_bad_gradient)


def experiment(records, **trainer):
    params = tiny.experiment("libra_retinanet_resnetfpn_coco")
    params.override({"task": {"dataset": records, "model": {"num_classes": 0}}})
    intervals = ("steps_per_loop", "summary_interval", "checkpoint_interval")
    params.override({"trainer": dict.fromkeys(intervals, trainer.pop("interval"))})
    params.override({"trainer": {"train_steps": 6, **trainer}})
    return params


@pytest.mark.slow
def test_a_bad_gradient_is_told_and_kept(bad_image, records, tmp_path, capsys):
    with pytest.raises(UserError) as error:
        run(
            experiment(records, interval=6),
            "train",
            str(tmp_path),
            stream=io.StringIO(),
        )
    (folder,) = (tmp_path / "nonfinite").iterdir()
    report = json.loads((folder / "step.json").read_text())
    assert BAD_IMAGE in report["source_ids"]
    assert len(report["source_ids"]) == 4
    assert report["step"] in (1, 2, 3)  # of three batches in an epoch
    assert report["gradients"]
    text = str(error.value)
    assert text.startswith(f"step {report['step']}: a gradient is not finite")
    assert f"libra replay {folder}" in text
    assert tf.train.latest_checkpoint(str(tmp_path)) is None
    assert fault_of(str(folder / "weights")) is None

    assert main(["replay", str(folder)]) == 1
    printed = capsys.readouterr().out
    assert report["gradients"][0] in printed
    assert ", ".join(map(str, report["source_ids"])) in printed


@pytest.mark.slow
def test_training_goes_on_without_the_batch(bad_image, records, tmp_path):
    params = experiment(records, interval=1, recovery_max_trials=9)
    params.override({"trainer": {"checkpoint_interval": 3}})
    stream = io.StringIO()
    run(params, "train", str(tmp_path), stream=stream)
    assert "without this batch" in stream.getvalue()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == sorted(set(steps))
    assert steps[-1] == 6
    told = event_scalars(tmp_path / "train", "loss/total")
    assert [step for step, _ in told] == steps
    newest = tf.train.latest_checkpoint(str(tmp_path))
    assert newest.endswith("ckpt-6")
    assert fault_of(newest) is None


def test_what_is_no_kept_step(tmp_path):
    assert main(["replay", str(tmp_path)]) == 2


def kept_step(folder):
    """What a training keeps of a step, with a model of one weight."""
    (folder / "params.yaml").touch()
    batch = {"images": np.zeros([1, 4, 4, 3], np.float32)}
    model = tf.Module()
    model.weight = tf.Variable(1.0)
    return write_dump(FailedStep(3, batches={0: batch}), model, str(folder))


def test_a_step_is_kept_whole(tmp_path, monkeypatch):
    folder = kept_step(tmp_path)
    assert read_dump(folder)[0].step == 3
    monkeypatch.setattr(np, "savez_compressed", mock.Mock(side_effect=OSError("full")))
    with pytest.raises(OSError, match="full"):
        kept_step(tmp_path)
    assert not list((tmp_path / "nonfinite").iterdir())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:-40],
        lambda data: b"PK" + data[:50],
        lambda data: data[:60] + b"\xff" * 10 + data[70:],
    ],
)
def test_a_kept_step_that_is_damaged(tmp_path, spoil):
    folder = kept_step(tmp_path)
    path = folder / "batch-0.npz"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(UserError, match="is no step that a training kept"):
        read_dump(folder)
