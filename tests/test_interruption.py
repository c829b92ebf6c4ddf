"""Runs that are interrupted go on as if they had not been."""

from __future__ import annotations

import io
import json
import os
import signal

import pytest
import tensorflow as tf
import tiny

from libra_tf.training.runner import run
from libra_tf.training.stop import Preempted

pytestmark = pytest.mark.slow


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


def experiment(kind, records, **trainer):
    params = tiny.experiment(f"libra_{kind}_resnetfpn_coco")
    params.override({"task": {"dataset": records, "model": {"num_classes": 0}}})
    params.override({"runtime": {"deterministic": True}})
    params.override({"trainer": {"steps_per_loop": 1, "summary_interval": 1}})
    params.override({"trainer": {"train_steps": 6, "checkpoint_interval": 2}})
    params.override({"trainer": {"validation_interval": 6, **trainer}})
    return params


def losses(folder):
    """The numbers of each step, without times."""
    lines = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "train"]
    for line in steps:
        line.pop("examples_per_second")
    return steps


@pytest.mark.parametrize("kind", ["retinanet", "fasterrcnn"])
def test_a_deterministic_run_is_the_same_when_interrupted(kind, records, tmp_path):
    """Stopped between two checkpoints, where its data were drawn in the middle."""
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    run(experiment(kind, records), "train", str(whole), stream=io.StringIO())
    stream = SignalAt(3, signal.SIGTERM)
    with pytest.raises(Preempted):
        run(experiment(kind, records), "train", str(parted), stream=stream)
    stopped_at = losses(parted)[-1]["step"]
    assert 3 <= stopped_at < 6
    assert tf.train.latest_checkpoint(str(parted)).endswith(f"ckpt-{stopped_at}")
    run(experiment(kind, records), "train", str(parted), stream=io.StringIO())
    assert losses(parted) == losses(whole)
    assert len(losses(whole)) == 6
