"""ablation.step_time and timing: who takes turns with whom, and what is written."""

import csv
import dataclasses
import io
import os
import sys

import pytest

from libra_tf.ablation import step_time, timing
from libra_tf.ablation.plan import Plan, Row
from libra_tf.ablation.runs import Run

PLAN = Plan(
    "mine",
    "mine.yaml",
    "",
    "",
    tuple(
        Row(name, ("x",), {}, {}, {}, baseline)
        for name, baseline in (("base", None), ("one", "base"), ("two", "one"))
    ),
)


def clocked(monkeypatch, times):
    """Functions that move the clock; returns them and the order of their calls."""
    clock, calls = [0.0], []
    monkeypatch.setattr(step_time.time, "perf_counter", lambda: clock[0])

    def function(name):
        left = list(times[name])

        def call():
            calls.append(name)
            clock[0] += left.pop(0)

        return call

    return function("a"), function("b"), calls


def test_turns(monkeypatch):
    warm = [100.0, 100.0]  # one call compiles, one fills the four kept batches
    times = {"a": [*warm, 1.0, 2.0, 4.0], "b": [*warm, 1.5, 2.0, 8.0]}
    first, second, calls = clocked(monkeypatch, times)
    found = step_time.compare(first, second, rounds=3, steps=5)
    assert "".join(calls) == "abab" + "abbaab"
    assert found["ratio"] == 1.5
    assert (found["ratio_low"], found["ratio_high"]) == (1.25, 1.75)
    assert (found["baseline_ms"], found["row_ms"]) == (400, 400)
    assert (found["rounds"], found["steps_per_round"]) == (3, 5)


def test_one_round_has_no_spread(monkeypatch):
    times = {"a": [9, 9, 9, 9, 9, 2.0], "b": [9, 9, 9, 9, 9, 3.0]}
    first, second, calls = clocked(monkeypatch, times)
    found = step_time.compare(first, second, rounds=1, steps=1)
    assert len(calls) == 12
    assert found["ratio"] == found["ratio_low"] == found["ratio_high"] == 1.5


# Stands for `step_time`: one row takes longer, one fails.
FIGURES = """
import json, sys
pair, rounds, steps, result = sys.argv[1:]
with open(pair) as file:
    names = [settings["name"] for settings in json.load(file)]
if names[1] == "two":
    sys.exit(1)
figures = dict(ratio=1.25, ratio_low=1.2, ratio_high=1.3, row_ms=5, baseline_ms=4)
with open(result, "w") as file:
    json.dump({**figures, "rounds": int(rounds), "steps_per_round": int(steps),
               "batch_size": 8, "load_average": 0.1}, file)
"""


def measured(monkeypatch, tmp_path, rows):
    build = timing._task

    def task(*args):
        made = build(*args)
        words = [sys.executable, "-c", FIGURES, *made.words[3:]]
        return dataclasses.replace(made, words=words)

    monkeypatch.setattr(timing, "_task", task)
    runs = [Run(r.name, 1, "", (), {"name": r.name}) for r in PLAN.rows]
    stream = io.StringIO()
    failed = timing.measure(
        PLAN, rows, runs, str(tmp_path), rounds=7, steps=5, stream=stream
    )
    return failed, stream.getvalue()


def test_each_row_is_measured_with_its_baseline(monkeypatch, tmp_path):
    failed, text = measured(monkeypatch, tmp_path, PLAN.rows)
    assert failed == [("two", "exit code 1")]
    assert text.splitlines()[0] == "one: 1.250 times base (5 and 4 ms)"
    assert text.splitlines()[1].startswith("two: FAILED (exit code 1), see ")
    with open(tmp_path / "timing.csv", encoding="utf-8", newline="") as file:
        (line,) = csv.DictReader(file)
    assert (line["row"], line["baseline"], line["ratio"]) == ("one", "base", "1.25")
    assert (line["rounds"], line["steps_per_round"]) == ("7", "5")
    assert int(line["cores"]) >= 1
    assert timing.read_timing(str(tmp_path))["one"] == line


def test_other_rows_of_the_file_stay(monkeypatch, tmp_path):
    measured(monkeypatch, tmp_path, PLAN.rows[1:2])
    measured(monkeypatch, tmp_path, PLAN.rows[2:])
    assert list(timing.read_timing(str(tmp_path))) == ["one"]
    assert timing.read_timing(os.path.join(tmp_path, "nowhere")) == {}


@pytest.mark.slow
def test_real_steps_of_two_detectors(tmp_path):
    import tiny

    from libra_tf.experiments.resolve import resolve

    data = tiny.dataset(tmp_path)
    functions = []
    for neck in ("none", "balanced_feature_pyramid"):
        params = tiny.experiment(
            "libra_retinanet_resnetfpn_coco",
            task={"dataset": data, "model": {"neck": {"type": neck}}},
        )
        resolve(params)
        functions.append(step_time.build_steps(params.as_dict(), 2))
    found = step_time.compare(*functions, rounds=2, steps=2)
    assert found["row_ms"] > 0
    assert 0.2 < found["ratio"] < 5
