"""ablation.execute, run_results, reuse and tables: a training that takes no time."""

import csv
import io
import json
import os
import sys

import pytest

from libra_tf.ablation import execute as module
from libra_tf.ablation.execute import execute, publish
from libra_tf.ablation.plan import Plan, Row
from libra_tf.ablation.reuse import reuse
from libra_tf.ablation.run_results import collect, read_metrics, write_csv
from libra_tf.ablation.runs import Run
from libra_tf.ablation.tables import format_table
from libra_tf.errors import UserError
from libra_tf.files.json_files import write_json

PLAN = Plan(
    "mine",
    "mine.yaml",
    "My table",
    "Somebody, Table 1",
    (
        Row("base", ("x",), {}, {}, {"AP": 35.9, "AP75": 38.4}, None),
        Row("better", ("x",), {}, {}, {"AP": 36.8}, "base", note="a word"),
        Row("extra", ("x",), {}, {}, {}, "better"),
    ),
)
# Stands for `libra train`: the AP is its first argument, or it fails.
TRAIN = """
import json, os, sys
folder, ap = sys.argv[1:]
if ap == "crash":
    sys.exit("there is no such thing")
if ap == "kill":
    os.kill(os.getpid(), 9)
lines = [{"kind": "train", "step": s, "examples_per_second": 4.0} for s in (10, 20)]
values = {"AP": float(ap), "AP50": 0.9, "AP@0.55": 0.8, "AR@100": 0.7}
lines.append({"kind": "validation", "step": 20, "seconds": 3.0, **values})
with open(os.path.join(folder, "metrics.jsonl"), "w") as file:
    file.writelines(json.dumps(line) + "\\n" for line in lines)
"""


class FakeRun(Run):
    """Its last word is the AP it gives, or how it fails."""

    @property
    def process_words(self):
        return [sys.executable, "-c", TRAIN, self.folder, self.words[-1]]


def fake(out, row, seed, ap, **settings):
    folder = os.path.join(out, "runs", row, f"seed{seed}")
    data = {"train_data": {"global_batch_size": 8}}
    trainer = {"train_steps": 20, "seed": seed}
    values = {"task": data, "trainer": trainer, **settings}
    return FakeRun(row, seed, folder, ("train", str(ap)), values)


def four(out, last=0.6):
    aps = {
        ("base", 1): 0.5,
        ("better", 1): 0.52,
        ("base", 2): 0.54,
        ("better", 2): last,
    }
    return [fake(out, row, seed, ap) for (row, seed), ap in aps.items()]


def go(runs, out, jobs=1):
    stream = io.StringIO()
    failed = execute(PLAN, "coco", runs, out, jobs=jobs, stream=stream)
    return failed, stream.getvalue()


def lines_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def out(tmp_path):
    return str(tmp_path / "out")


@pytest.mark.parametrize("jobs", [1, 2])
def test_all_runs(out, jobs):
    failed, text = go(four(out), out, jobs)
    assert failed == []
    assert text.splitlines()[0] == "4 runs, 0 finished before"
    assert "4 of 4: " in text
    assert "base seed 1: AP 0.500, 0.0 min, ETA 0:00" in text
    lines = lines_of(os.path.join(out, "results.csv"))
    assert [(x["row"], x["seed"]) for x in lines] == [
        ("base", "1"),
        ("better", "1"),
        ("base", "2"),
        ("better", "2"),
    ]
    first = lines[0]
    assert (first["plan"], first["scale"], first["AP"]) == ("mine", "coco", "0.5")
    assert (first["AP55"], first["AR@100"]) == ("0.8", "0.7")
    assert (first["steps"], first["train_seconds"]) == ("20", "40.0")
    assert first["command"] == "libra train 0.5"
    assert float(first["peak_memory_mb"]) > 1
    assert first["commit"]
    assert first["threads"] == str(max(1, int(first["cores"]) // jobs))


@pytest.mark.parametrize(
    ("way", "reason"),
    [("crash", "exit code 1"), ("kill", "killed by SIGKILL (out of memory?)")],
)
def test_a_failure_is_reported_and_tried_again(out, way, reason):
    runs = four(out, last=way)
    failed, text = go(runs, out)
    assert failed == [(runs[-1], reason)]
    assert f"better seed 2: FAILED ({reason})" in text
    assert ("    there is no such thing" in text) == (way == "crash")
    assert len(lines_of(os.path.join(out, "results.csv"))) == 3
    failed, text = go(four(out), out)
    assert failed == []
    assert text.splitlines()[0] == "4 runs, 3 finished before"
    assert "4 of 4: better seed 2: AP 0.600" in text
    assert "no such thing" not in text
    assert go(four(out), out)[1] == "4 runs, 4 finished before\n"
    # Both attempts took time.
    log = os.path.join(runs[-1].folder, "attempts.json")
    with open(log, encoding="utf-8") as file:
        assert len(json.load(file)) == 2


def test_the_log_of_an_earlier_attempt_is_not_shown_again(out):
    go([fake(out, "base", 1, "crash")], out)
    _, text = go([fake(out, "base", 1, "kill")], out)
    assert "no such thing" not in text


def test_an_end_without_an_evaluation_is_a_failure(out):
    run = fake(out, "base", 1, 0.5)
    run.settings["trainer"]["train_steps"] = 30
    failed, _ = go([run], out)
    assert failed == [(run, "it ended without an evaluation at its last step")]
    assert read_metrics(run) is None
    assert lines_of(os.path.join(out, "results.csv")) == []


def test_a_run_that_went_back_to_its_checkpoint_counts_its_steps_twice(out):
    run = fake(out, "base", 1, 0.5)
    go([run], out)
    path = os.path.join(run.folder, "metrics.jsonl")
    lines = [(10, 8.0), (20, 8.0), (10, 4.0)]
    with open(path, "w", encoding="utf-8") as file:
        for step, rate in lines:
            entry = {"kind": "train", "step": step, "examples_per_second": rate}
            file.write(json.dumps(entry) + "\n")
        file.write('{"kind": "trai')
    from libra_tf.ablation.run_results import _train_seconds

    assert _train_seconds(run) == pytest.approx(10 + 10)


def test_the_table(out):
    go(four(out), out)
    with open(os.path.join(out, "table.md"), encoding="utf-8") as file:
        text = file.read()
    assert text.startswith(
        "# My table\n\nPlan `mine`, scale `coco`. Published: Somebody"
    )
    assert "4 runs of 20 steps on " in text
    assert "| base | 2 | 52.0 ± 2.8 | 90.0 ± 0.0 | - |" in text
    # Differences of 2 and 6: mean 4, error 2, t = 2 with one degree of freedom.
    assert "| better | base | 2 | +4.00 ± 2.00 | .295 | .295 | 36.8 | +0.9 |" in text
    assert "| extra | better | 0 | - | - |" in text
    assert "| base | (baseline) | - | - | - | - | 35.9 | - |" in text
    assert "- better: a word" in text


def test_a_seed_without_partner_is_not_in_the_difference(out):
    go(four(out, last="crash"), out)
    text = format_table(PLAN, "coco", collect(PLAN, "coco", out), {})
    assert "| base | 2 | 52.0 ± 2.8 |" in text
    assert "| better | base | 1 | +2.00 | - |" in text


def test_step_times_are_joined(out):
    text = format_table(PLAN, "coco", [], {"better": {"ratio": "1.126"}})
    row = next(x for x in text.splitlines() if x.startswith("| better | base"))
    assert row.endswith("| 1.13 | - |")


def test_an_undefined_figure_is_left_out(out):
    run = fake(out, "base", 1, 0.5)
    go([run], out)
    (result,) = collect(PLAN, "coco", out)
    result["metrics"]["APl"] = -1.0
    line = next(
        x
        for x in format_table(PLAN, "coco", [result], {}).splitlines()
        if x.startswith("| base | 1 |")
    )
    assert line == "| base | 1 | 50.0 | 90.0 | - | - | - | - | - | 70.0 |"


def test_results_of_something_else_are_not_mixed_in(out):
    go(four(out), out)
    with pytest.raises(UserError, match="results of plan mine, scale coco; give ano"):
        publish(PLAN, "two_core", out)


def test_results_of_the_time_when_scale_was_called_form(out, tmp_path):
    runs = four(out)
    go(runs, out)
    for run in runs:
        result = run.result
        result["form"] = result.pop("scale")
        write_json(os.path.join(run.folder, "result.json"), result)
    assert {r["scale"] for r in collect(PLAN, "coco", out)} == {"coco"}
    with pytest.raises(UserError, match="results of plan mine, scale coco; give ano"):
        publish(PLAN, "two_core", out)
    copy = fake(str(tmp_path / "other"), "base", 1, 0.5)
    assert reuse(PLAN, "two_core", [copy], [out]) == [copy]
    assert copy.result["scale"] == "two_core"
    assert "form" not in copy.result


def test_columns_have_one_order(tmp_path):
    line = {"plan": "p", "row": "r", "metrics": {"zoo": 1, "AP75": 0.1, "AP": 0.2}}
    path = write_csv([line, {**line, "metrics": {"AP/RBC": 0.3}}], str(tmp_path))
    first, second = lines_of(path)
    head = list(first)
    assert head[:8] == ["plan", "scale", "row", "seed", "AP", "AP75", "AP/RBC", "zoo"]
    assert (second["AP"], second["AP/RBC"]) == ("", "0.3")


def test_equal_runs_are_reused(out, tmp_path):
    go(four(out), out)
    other = str(tmp_path / "other")
    same, changed = fake(other, "extra", 1, 0), fake(other, "base", 1, 0, model="new")
    assert reuse(PLAN, "coco", [same, changed], [out]) == [same]
    assert same.result["metrics"]["AP"] == 0.5
    assert same.result["row"] == "extra"
    assert same.result["reused_from"].endswith(os.path.join("base", "seed1"))
    assert changed.result is None
    assert reuse(PLAN, "coco", [fake(other, "extra", 3, 0)], [out]) == []
    with pytest.raises(UserError, match="--reuse nowhere: there is no such folder"):
        reuse(PLAN, "coco", [same], ["nowhere"])


def test_a_setting_newer_than_a_run_is_equal_at_its_default(out, tmp_path):
    go([fake(out, "base", 1, 0.5, model={"a": 1, "old": {}})], out)
    other = str(tmp_path / "other")

    def run_with(**model):
        run = fake(other, "base", 1, 0, model={"a": 1, **model})
        run.defaults["model"] = {"a": 0, "new": {"form": "plain", "sizes": [1, 2]}}
        return run

    assert reuse(PLAN, "coco", [run_with(new={"form": "other"})], [out]) == []
    assert reuse(PLAN, "coco", [run_with(new={"sizes": [1, 3]})], [out]) == []
    assert reuse(PLAN, "coco", [run_with(unknown=None)], [out]) == []
    same = run_with(new={"form": "plain", "sizes": [1, 2]})
    same.settings["model"]["a"] = 0
    assert reuse(PLAN, "coco", [same], [out]) == []
    same.settings["model"]["a"] = 1
    assert reuse(PLAN, "coco", [same], [out]) == [same]


def test_a_begun_run_is_not_replaced(out, tmp_path):
    go(four(out), out)
    run = fake(str(tmp_path / "other"), "base", 1, 0)
    module.begin(run)
    assert reuse(PLAN, "coco", [run], [out]) == []


def test_a_result_is_there_whole_or_not(out, monkeypatch):
    """Whatever stops the writing, the run counts as not finished."""
    from libra_tf.ablation import run_results

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    run = fake(out, "base", 1, 0.5)
    monkeypatch.setattr(run_results, "write_json", stop)
    with pytest.raises(KeyboardInterrupt):
        go([run], out)
    assert run.result is None
    monkeypatch.setattr(run_results, "write_json", write_json)
    assert go([run], out)[0] == []
    assert run.result["metrics"]["AP"] == 0.5
