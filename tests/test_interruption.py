"""Runs that are interrupted go on as if they had not been."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from unittest import mock

import pytest
import tensorflow as tf
import tiny

from libra_tf.commands.main import main
from libra_tf.errors import Terminated, UserError
from libra_tf.experiments.saved import dump_params
from libra_tf.tasks.retinanet import LibraRetinaNetTask
from libra_tf.training.best_checkpoint import BestCheckpoint
from libra_tf.training.checkpoints import CheckpointManager
from libra_tf.training.runner import run
from libra_tf.training.stop import StopOnSignal, StopTraining


class SignalAt(io.StringIO):
    """A stream that sends this process a signal when it is told of a step."""

    def __init__(self, step, number):
        super().__init__()
        self._text, self._number = f"step {step}/", number

    def write(self, text):
        if text.startswith(self._text) and self._number:
            number, self._number = self._number, None
            os.kill(os.getpid(), number)
        return super().write(text)


@pytest.mark.slow
def test_a_signal_cuts_a_loop_short(records, tmp_path, short_step):
    """Here of a thousand steps; SIGTERM while they run in TensorFlow."""
    params = experiment("retinanet", records, train_steps=1000, steps_per_loop=1000)
    params.override(
        {"trainer": {"summary_interval": 1000, "checkpoint_interval": 1000}}
    )
    (tmp_path / "tiny.yaml").write_text(dump_params(params))
    out = tmp_path / "out"
    words = ["train", "--config", str(tmp_path / "tiny.yaml"), "--out", str(out)]

    def wait_and_kill():
        while not stepping.wait(0.1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    stepping = threading.Event()
    sender = threading.Thread(target=wait_and_kill)
    sender.start()
    with mock.patch.object(StopOnSignal, "is_requested", after(stepping)):
        assert main([*words, "--mode", "train"]) == 75
    sender.join()
    newest = tf.train.latest_checkpoint(str(out))
    assert 1 <= int(newest.rpartition("-")[2]) < 1000


def after(stepping):
    """`is_requested`, which tells that steps are being taken."""
    is_requested = StopOnSignal.is_requested

    def tell(self):
        stepping.set()
        return is_requested(self)

    return tell


def test_a_second_signal_ends_the_process_at_once():
    source = """
import os, signal, sys, time
from libra_tf.training.stop import StopOnSignal
with StopOnSignal(sys.stdout) as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.3)
    assert stop.is_requested() and stop.terminated
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(20)
"""
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=15
    )
    assert done.returncode == 128 + signal.SIGINT, done.stderr
    assert done.stdout.startswith("stopping after this step, with a checkpoint")


def test_handlers_are_what_they_were_afterwards():
    before = signal.getsignal(signal.SIGINT)
    stream = io.StringIO()
    stop = StopOnSignal(stream)
    with stop:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(StopTraining):
            stop.check(None)
    assert not stop.terminated
    assert stream.getvalue().count("stopping") == 1
    assert signal.getsignal(signal.SIGINT) == before


def experiment(kind, records, **trainer):
    params = tiny.experiment(f"libra_{kind}_resnetfpn_coco")
    params.override({"task": {"dataset": records, "model": {"num_classes": 0}}})
    params.override({"runtime": {"deterministic": True}})
    params.override({"trainer": {"steps_per_loop": 1, "summary_interval": 1}})
    params.override({"trainer": {"train_steps": 6, "checkpoint_interval": 2}})
    params.override({"trainer": {"validation_interval": 6, **trainer}})
    return params


@pytest.mark.slow
@pytest.mark.parametrize("where", ["evaluation", "last save", "best save"])
def test_a_signal_when_the_steps_are_done(where, records, tmp_path, monkeypatch):
    """The last step is 2; what is there in the end is what a run without has."""
    monkeypatch.setattr(LibraRetinaNetTask, "train_step", short_train_step)
    trainer = {"train_steps": 2, "validation_interval": 2}
    params = experiment("retinanet", records, **trainer)
    out = str(tmp_path)
    with monkeypatch.context() as patch:
        if where == "evaluation":
            signal_before(patch, LibraRetinaNetTask, "aggregate_logs")
        else:
            kind = CheckpointManager if where == "last save" else BestCheckpoint
            name = "save" if where == "last save" else "maybe_export_checkpoint"
            signal_before(patch, kind, name)
        try:
            run(params, "train_and_eval", out, stream=io.StringIO())
            stopped = False
        except Terminated:
            stopped = True
    assert stopped or where == "best save", "nothing was left to do there"
    assert tf.train.latest_checkpoint(out).endswith("ckpt-2")
    again = experiment("retinanet", records, **trainer)
    metrics = run(again, "train_and_eval", out, stream=io.StringIO())
    assert "AP" in metrics
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds == ["train", "train", "validation"]


def short_train_step(self, inputs, model, optimizer, metrics=None):
    return {self.loss: tf.reduce_mean(tf.cast(inputs[0], tf.float32) ** 2)}


def signal_before(patch, kind, name):
    """This process gets SIGTERM when a method is called at step 2, once."""
    method, sent = getattr(kind, name), []

    def with_signal(self, *args, **kwargs):
        if not sent and kwargs.get("checkpoint_number", 2) == 2:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGTERM)
        return method(self, *args, **kwargs)

    patch.setattr(kind, name, with_signal)


@pytest.mark.slow
def test_a_folder_that_is_removed_while_it_is_trained_in(records, tmp_path, short_step):
    out = tmp_path / "run"

    class Removes(io.StringIO):
        def write(self, text):
            if text.startswith("step 2/"):
                shutil.rmtree(out)
            return super().write(text)

    with pytest.raises(UserError, match=f"{out}/params.yaml: is gone"):
        run(experiment("retinanet", records), "train", str(out), stream=Removes())


def losses(folder):
    """The numbers of each step, without times."""
    lines = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "train"]
    return [{k: v for k, v in line.items() if k not in tiny.MEASURED} for line in steps]


@pytest.mark.usefixtures("built_once")
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("retinanet", marks=pytest.mark.slow),
        # What it has more, the sampler's count, is resumed daily in `test_training`.
        pytest.param("fasterrcnn", marks=pytest.mark.nightly),
    ],
)
def test_a_deterministic_run_is_the_same_when_interrupted(kind, records, tmp_path):
    """Stopped between two checkpoints, where its data were drawn in the middle."""
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    run(experiment(kind, records), "train", str(whole), stream=io.StringIO())
    stream = SignalAt(3, signal.SIGTERM)
    with pytest.raises(Terminated):
        run(experiment(kind, records), "train", str(parted), stream=stream)
    stopped_at = losses(parted)[-1]["step"]
    assert 3 <= stopped_at < 6
    assert tf.train.latest_checkpoint(str(parted)).endswith(f"ckpt-{stopped_at}")
    run(experiment(kind, records), "train", str(parted), stream=io.StringIO())
    assert losses(parted) == losses(whole)
    assert len(losses(whole)) == 6
