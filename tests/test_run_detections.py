"""The detections of a run are made once, and anew when their checkpoint is another."""

import json
from types import SimpleNamespace

import pytest

from libra_tf.commands.main import main
from libra_tf.errors import UserError
from libra_tf.training import run_detections as module
from libra_tf.training.run_detections import run_detections
from libra_tf.weights.find_checkpoint import RunCheckpoint


class Run:
    """A folder that looks like a run, whose evaluation is a note in a list."""

    def __init__(self, folder, name):
        self.folder = folder / name
        self.folder.mkdir()
        (self.folder / "params.yaml").write_text("")
        self.annotations = folder / "val.json"
        self.annotations.write_text(json.dumps({"images": [], "of": 1}))
        self.params = SimpleNamespace(
            task=SimpleNamespace(annotation_file=str(self.annotations))
        )
        self.checkpoint("ckpt-1", b"weights")

    def checkpoint(self, name, index):
        self.prefix = str(self.folder / name)
        (self.folder / f"{name}.index").write_bytes(index)


@pytest.fixture
def evaluated():
    return []


@pytest.fixture
def make(tmp_path, monkeypatch, evaluated):
    runs = {}

    def evaluate(params, checkpoint, stream):
        evaluated.append(checkpoint)

        def save(path):
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps([{"from": checkpoint}]))

        return {}, SimpleNamespace(save_detections=save)

    def find(path):
        return RunCheckpoint(runs[str(path)].prefix, runs[str(path)].params)

    monkeypatch.setattr(module, "evaluate_checkpoint", evaluate)
    monkeypatch.setattr(module, "find_checkpoint", find)

    def make(name):
        run = Run(tmp_path, name)
        runs[str(run.folder)] = run
        return run

    return make


def test_a_run_is_evaluated_once(make, evaluated, capsys):
    run = make("run")
    first = run_detections(str(run.folder))
    assert first.annotations == str(run.annotations)
    assert first.detections == str(run.folder / "analysis" / "detections.json")
    assert "evaluating" in capsys.readouterr().err
    assert run_detections(str(run.folder)) == first
    assert evaluated == [run.prefix]
    assert "evaluating" not in capsys.readouterr().err


@pytest.mark.parametrize("what", ["checkpoint", "weights", "annotations", "half"])
def test_it_is_evaluated_anew_when_something_changed(make, evaluated, what):
    run = make("run")
    run_detections(str(run.folder))
    if what == "checkpoint":
        run.checkpoint("ckpt-2", b"weights")
    elif what == "weights":
        run.checkpoint("ckpt-1", b"others")
    elif what == "annotations":
        run.annotations.write_text("{}")
    else:  # stopped before the note was written
        (run.folder / "analysis" / "detections_of.json").unlink()
    run_detections(str(run.folder))
    assert len(evaluated) == 2


def test_a_run_without_annotation_file_tells_another_way(make):
    run = make("run")
    run.params.task.annotation_file = ""
    with pytest.raises(UserError, match="libra eval --model RUN --out DIR"):
        run_detections(str(run.folder))


def test_a_run_whose_annotations_are_gone_is_named(make):
    run = make("run")
    run.annotations.unlink()
    with pytest.raises(UserError, match=r"val\.json: cannot be read"):
        run_detections(str(run.folder))


def test_two_runs_of_different_images_are_not_compared(make, tmp_path, capsys):
    one, other = make("one"), make("other")
    other.params.task.annotation_file = str(tmp_path / "else.json")
    (tmp_path / "else.json").write_text(json.dumps({"images": [], "of": 2}))
    words = ["analyze", str(one.folder), "--compare", str(other.folder)]
    assert main(words) == 2
    assert "it was validated on" in capsys.readouterr().err


def test_a_folder_without_checkpoint_is_one_line(tmp_path, capsys):
    assert main(["analyze", str(tmp_path)]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path}: no checkpoint in this folder" in error
    assert not list(tmp_path.iterdir())
