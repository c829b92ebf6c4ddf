"""files.lock: one process at a time, or a word on who is there."""

import multiprocessing
import os
import shutil
import sys

import pytest

from libra_tf.errors import UserError
from libra_tf.files.lock import locked, locked_run

fcntl = pytest.importorskip("fcntl")


def hold(path, held, done):
    with locked(path):
        held.set()
        done.wait(60)


@pytest.fixture
def process():
    """Another process, which holds locks until it is told to end."""
    # A fork would copy the threads of whatever was imported before.
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    started = []

    def start(path):
        started.append(context.Process(target=hold, args=(str(path), held, done)))
        started[0].start()
        assert held.wait(60)

    yield start, done
    done.set()
    for each in started:
        each.join(60)


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_a_run_has_one_trainer(tmp_path, process):
    start, done = process
    start(tmp_path / ".lock")
    with (
        pytest.raises(UserError, match="is being trained by another process"),
        locked_run(str(tmp_path)),
    ):
        pass
    done.set()
    with locked(tmp_path / ".lock"):  # waits for the other
        pass
    with locked_run(str(tmp_path)):
        pass


def test_a_folder_can_be_locked_and_nothing_is_left_in_it(tmp_path):
    with locked(tmp_path):
        assert os.listdir(tmp_path) == []
    with locked(tmp_path, busy="busy"):
        pass


def test_an_error_frees_the_lock(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path, busy="busy"):
        raise KeyError
    with locked(tmp_path, busy="busy"):
        pass


def test_where_there_are_no_locks_the_body_runs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with locked(tmp_path, busy="busy"), locked(tmp_path, busy="busy"):
        assert os.listdir(tmp_path) == []


def refuse_in(folder, file=None):
    def run():
        if file:
            (folder / file).touch()
        raise UserError("a setting")

    with pytest.raises(UserError, match="a setting"), locked_run(str(folder)):
        run()


def test_a_run_that_is_refused_leaves_no_trace(tmp_path):
    folder = tmp_path / "runs" / "first"
    refuse_in(folder)
    assert os.listdir(tmp_path) == []
    (tmp_path / "runs").mkdir()
    refuse_in(folder)
    assert os.listdir(tmp_path) == ["runs"]


def test_a_run_that_has_written_keeps_its_lock(tmp_path):
    refuse_in(tmp_path, "params.yaml")
    assert sorted(os.listdir(tmp_path)) == [".lock", "params.yaml"]


def test_a_lock_that_was_removed_meanwhile_is_taken_anew(tmp_path, monkeypatch):
    """Else two processes could hold locks of one name."""
    path, flock = tmp_path / ".lock", fcntl.flock
    removals = iter([True, False])

    def lock(handle, how):
        flock(handle, how)
        if next(removals, False):
            path.unlink()

    monkeypatch.setattr(fcntl, "flock", lock)
    with locked(path, busy="busy"):
        monkeypatch.undo()
        with pytest.raises(UserError, match="busy"), locked(path, busy="busy"):
            pass


def test_a_folder_that_is_gone_does_not_hide_why(tmp_path):
    folder = tmp_path / "run"

    def run():
        with locked_run(str(folder)):
            shutil.rmtree(folder)
            raise UserError("why")

    with pytest.raises(UserError, match="why"):
        run()
