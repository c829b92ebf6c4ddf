"""ablation.mechanism: which runs are measured, and the table of means."""

import io
import json

import pytest

from libra_tf.ablation import children, mechanism
from libra_tf.ablation.plan import Row
from libra_tf.ablation.runs import RESULT_KEYS, Run

RESULT = dict.fromkeys(RESULT_KEYS, "a") | {"metrics": {"AP": 1.0}}


def row(name):
    return Row(name, ("x",), {}, {}, {}, None)


def run(folder, finished=True):
    folder.mkdir(parents=True)
    if finished:
        (folder / "result.json").write_text(json.dumps(RESULT))
    settings = {"trainer": {"train_steps": 600}}
    return Run(folder.name, 1, str(folder), ("train",), settings)


@pytest.fixture
def measured(monkeypatch):
    """Stands for `libra measure`: notes the commands, fails where a run is "bad"."""
    commands = []

    def run_all(tasks, jobs, threads):
        for task in tasks:
            commands.append(task.words[3:])
            code = 2 if task.key.row == "bad" else 0
            yield task, children.Outcome(code, 1.0, 1.0)

    monkeypatch.setattr(mechanism.children, "run_all", run_all)
    return commands


def test_only_finished_runs_that_were_not_measured(tmp_path, measured):
    runs = [run(tmp_path / "new"), run(tmp_path / "open", finished=False)]
    runs += [run(tmp_path / "done"), run(tmp_path / "bad")]
    (tmp_path / "done" / "mechanism.json").write_text('{"images": 7}')
    stream = io.StringIO()
    failed = mechanism.measure(runs, images=7, jobs=1, stream=stream)
    assert [words[1] for words in measured] == [runs[0].folder, runs[3].folder]
    assert measured[0] == [
        *("measure", runs[0].folder, "--checkpoint", f"{runs[0].folder}/ckpt-600"),
        *("--images", "7", "--out", f"{runs[0].folder}/mechanism.json"),
    ]
    assert [(one.row, reason) for one, reason in failed] == [("bad", "exit code 2")]
    assert "2 of 2: bad seed 1: FAILED" in stream.getvalue()
    measured.clear()
    mechanism.measure(runs[2:3], images=8, jobs=1, stream=stream)
    assert len(measured) == 1  # on another number of images


def test_a_run_that_was_taken_over_is_measured_where_it_was_trained(tmp_path, measured):
    taken = run(tmp_path / "taken")
    result = json.dumps(RESULT | {"reused_from": "there"})
    (tmp_path / "taken" / "result.json").write_text(result)
    mechanism.measure([taken], images=7, jobs=1, stream=io.StringIO())
    assert measured[0][1:4] == ["there", "--checkpoint", "there/ckpt-600"]
    assert measured[0][-1] == f"{taken.folder}/mechanism.json"


def test_columns_of_a_run(tmp_path):
    assert mechanism.read_columns(str(tmp_path)) == {}
    values = {
        "sample": {
            "own": "random",
            "rules": {"random": {"above": 0.3}, "hardest": {"above": 0.6}},
        },
        "objective": {"own": None, "losses": {}},
        "feature": {"before": None, "after": None},
    }
    (tmp_path / "mechanism.json").write_text(json.dumps(values))
    assert mechanism.read_columns(str(tmp_path)) == {
        "chosen_negatives_iou_above_0.05": 0.3,
        "random_negatives_iou_above_0.05": 0.3,
        "hardest_negatives_iou_above_0.05": 0.6,
    }


def test_table_of_means():
    name = "chosen_negatives_iou_above_0.05"
    by_row = {
        "a": {1: {"mechanism": {name: 0.2}}, 2: {"mechanism": {name: 0.4}}},
        "b": {1: {"mechanism": {}}},
        "c": {1: {"mechanism": {"level_similarity_after": 0.5}}},
    }
    head, first, second = mechanism.mechanism_lines([row(n) for n in "abcd"], by_row)
    assert len(head) == len(first) == len(second)
    assert first[:3] == ["a", "30.0%", "-"]
    assert second[0] == "c"
    assert second[-1] == "0.50"
    assert mechanism.mechanism_lines([row("b")], by_row) == []
