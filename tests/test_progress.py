"""training.progress: lines for people and for programs, and the stop at NaN."""

import io
import json
import math
import re
import types

import numpy as np
import pytest
import tensorflow as tf

from libra_tf.errors import UserError
from libra_tf.training import progress as module
from libra_tf.training.progress import Progress


class Run:
    """A trainer and a clock that tests turn by hand."""

    def __init__(self, folder, monkeypatch, step=0):
        self.seconds = 100.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.seconds)
        self.step = tf.Variable(step, dtype=tf.int64)
        self.path = folder / "metrics.jsonl"
        self.stream = io.StringIO()
        self.trainer = types.SimpleNamespace(global_step=self.step)
        self.progress = Progress(self.trainer, 1000, 4, str(folder), self.stream)

    def train(self, step, seconds, **values):
        self.step.assign(step)
        self.seconds += seconds
        self.progress.on_train(values)

    def evaluate(self, seconds, **values):
        self.seconds += seconds
        self.progress.on_eval(values)

    @property
    def lines(self):
        return self.stream.getvalue().splitlines()

    @property
    def records(self):
        text = self.path.read_text() if self.path.exists() else ""

        def refuse(constant):
            raise AssertionError(f"{constant} is no JSON")

        return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


@pytest.fixture
def run(tmp_path, monkeypatch):
    return Run(tmp_path, monkeypatch)


def test_a_line_per_interval(run):
    run.train(
        50,
        20.0,
        total_loss=tf.constant(2.5),
        rpn_score_loss=np.float32(0.25),
        frcnn_box_loss=0.125,
        mask_loss=0.0,
        model_loss=2.0,
        training_loss=2.5,
        learning_rate=0.01,
        data_wait_share=0.066,
        peak_memory_gib=1.46,
    )
    assert run.lines == [
        "step   50/1000  loss 2.500  rpn_score 0.250 frcnn_box 0.125  lr 0.01  "
        "data wait 7%  memory 1.5 GiB  10.0 examples/s  ETA under 6:20"
    ]


def test_the_same_as_json(run):
    run.train(50, 20.0, total_loss=tf.constant(2.5), learning_rate=0.5)
    assert run.records == [
        {
            "kind": "train",
            "step": 50,
            "examples_per_second": 10.0,
            "total_loss": 2.5,
            "learning_rate": 0.5,
        }
    ]


def test_the_file_grows(run, tmp_path, monkeypatch):
    run.train(50, 20.0, total_loss=1.0)
    resumed = Run(tmp_path, monkeypatch, step=50)
    resumed.train(100, 10.0, total_loss=0.5)
    assert [r["step"] for r in resumed.records] == [50, 100]
    assert resumed.records[1]["examples_per_second"] == 20.0


def eta(line):
    return line.rpartition("ETA ")[2]


def test_time_left_forgets_the_first_interval_and_smooths_the_rest(run):
    run.train(10, 400.0, total_loss=1.0)
    run.train(20, 10.0, total_loss=1.0)
    run.train(30, 20.0, total_loss=1.0)
    assert eta(run.lines[0]) == "under 11:00:00"
    assert eta(run.lines[1]) == "16:20"  # 980 steps at 4 examples/s, 4 each
    # 0.7 * 4 + 0.3 * 2 examples/s
    assert eta(run.lines[2]) == "19:01"


def test_evaluation_is_not_counted_as_training_time(run):
    run.train(10, 10.0, total_loss=1.0)
    run.evaluate(500.0, AP=0.25)
    run.train(20, 10.0, total_loss=1.0)
    assert run.records[-1]["examples_per_second"] == 4.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_stops_and_leaves_no_trace(run, value):
    run.train(50, 1.0, total_loss=1.0)
    lines, records = run.lines, run.records
    with pytest.raises(UserError) as error:
        run.train(60, 1.0, total_loss=tf.constant(value), rpn_box_loss=value, lr=0.5)
    text = str(error.value)
    assert text.startswith("step 60: total_loss, rpn_box_loss is not finite; training")
    assert "lr," not in text
    assert "\n" not in text
    assert (run.lines, run.records) == (lines, records)


def test_one_bad_part_is_named_though_the_total_is_good(run):
    with pytest.raises(UserError, match="step 60: mask_loss is not finite"):
        run.train(60, 1.0, total_loss=1.0, mask_loss=math.nan)


def test_evaluation_line(run):
    run.step.assign(300)
    run.evaluate(12.4, APs=0.1, AP50=0.5, AP=0.25, num_images_evaluated=40.0, other=1.0)
    assert run.lines == [
        "validation at step 300: AP 0.250  AP50 0.500  (40 images, 12 s)"
    ]
    (record,) = run.records
    assert record["kind"] == "validation"
    assert record["seconds"] == pytest.approx(12.4)
    assert (record["APs"], record["other"]) == (0.1, 1.0)


def test_a_new_best_is_told(run):
    run.trainer.checkpoint_exporter = types.SimpleNamespace(best_step=300)
    for step in (300, 400):
        run.step.assign(step)
        run.evaluate(1.0, AP=0.25, num_images_evaluated=40.0)
    assert run.lines[0].endswith("(40 images, 1 s)  new best")
    assert run.lines[1].endswith("(40 images, 1 s)")


def test_a_subset_of_the_images_is_told(run):
    run.evaluate(1.0, AP=0.5, num_images_evaluated=30, num_images_missing=10)
    assert run.lines[0].endswith("(30 images of 40: a subset!, 1 s)")


def test_metrics_without_a_value_are_null_in_json(run):
    run.evaluate(1.0, AP=0.5, APl=math.nan)
    assert run.records[0]["APl"] is None
    assert run.records[0]["AP"] == 0.5


def test_what_is_no_scalar_number_is_left_out(run):
    outputs = {
        "total_loss": 1.0,
        "image": tf.zeros([2, 2]),
        "vector": np.array([math.nan]),
        "name": "text",
        "flag": np.bool_(True),
        "nested": {"a": 1},
    }
    run.train(50, 1.0, **outputs)
    run.evaluate(1.0, **outputs)
    for record in run.records:
        head = {"kind", "step", "seconds", "examples_per_second"}
        assert set(record) - head == {"total_loss"}


def test_total_loss_may_be_called_training_loss(run):
    run.train(50, 1.0, training_loss=3.0)
    assert re.search(r"loss 3\.000  ", run.lines[0])
