"""ablation.children: crashes, signals, memory, order, and no child left behind."""

import contextlib
import os
import signal
import sys
import time

import pytest

from libra_tf.ablation.children import Task, run_all


def task(tmp_path, key, code):
    log = str(tmp_path / f"{key}.txt")
    return Task(key, [sys.executable, "-c", code], log)


def ends(tasks, jobs=1, threads=None):
    return {t.key: outcome for t, outcome in run_all(tasks, jobs, threads)}


def test_a_crash_does_not_stop_the_others(tmp_path):
    codes = {
        "good": "print('hello')",
        "bad": "import sys; print('oh', file=sys.stderr); sys.exit(3)",
        "killed": "import os; os.kill(os.getpid(), 9)",
        "last": "pass",
    }
    found = ends([task(tmp_path, key, code) for key, code in codes.items()])
    assert [outcome.code for outcome in found.values()] == [0, 3, -9, 0]
    assert list(found) == list(codes)
    assert (tmp_path / "good.txt").read_text() == "hello\n"
    assert (tmp_path / "bad.txt").read_text() == "oh\n"
    assert found["bad"].reason == "exit code 3"
    assert found["killed"].reason == "killed by SIGKILL (out of memory?)"


def test_peak_memory_and_time_are_of_each_child(tmp_path):
    small = task(tmp_path, "small", "import time; time.sleep(0.6)")
    large = task(
        tmp_path,
        "large",
        "import time; x = bytearray(b'1') * (200 << 20); time.sleep(0.6)",
    )
    mine = bytearray(b"1") * (300 << 20)  # the memory of the parent is not theirs
    found = ends([large, small])
    assert len(mine) == 300 << 20
    assert found["large"].peak_memory_mb > 200 > found["small"].peak_memory_mb > 1
    assert found["small"].seconds >= 0.6


def test_so_many_run_at_a_time_and_start_when_there_is_room(tmp_path):
    started = []

    def tasks():
        for number in range(4):
            started.append(number)
            yield task(tmp_path, number, "import time; time.sleep(0.2)")

    most = 0
    for done, _ in enumerate(run_all(tasks(), 2, None), start=1):
        most = max(most, len(started) - done)
    assert len(started) == 4
    assert most == 1  # one is running when another has just ended


def test_threads_are_bounded_where_asked(tmp_path, monkeypatch):
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)  # Workers have it.
    code = "import os; print(os.environ.get('TF_NUM_INTRAOP_THREADS'))"
    ends([task(tmp_path, "bound", code)], threads=1)
    ends([task(tmp_path, "free", code)])
    assert (tmp_path / "bound.txt").read_text() == "1\n"
    assert (tmp_path / "free.txt").read_text() == "None\n"


def alive(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@pytest.mark.parametrize("ignores", [False, True])
def test_no_child_is_left(tmp_path, monkeypatch, ignores):
    """One that hears SIGTERM may end by itself; one that does not is killed."""
    monkeypatch.setattr("libra_tf.ablation.children._GRACE_SECONDS", 1.0)
    handler = "signal.SIG_IGN" if ignores else "lambda *_: sys.exit(print('bye') or 5)"
    code = (
        f"import os, signal, sys, time; signal.signal(signal.SIGTERM, {handler})\n"
        "print(os.getpid(), flush=True); time.sleep(60)"
    )
    waits, short = task(tmp_path, "waits", code), task(tmp_path, "short", "pass")
    log = tmp_path / "waits.txt"
    with contextlib.closing(run_all([waits, short], 2, None)) as running:
        next(running)
        while not (log.exists() and log.read_text()):
            time.sleep(0.05)
    pid, *words = log.read_text().split()
    assert words == ([] if ignores else ["bye"])
    with contextlib.suppress(ChildProcessError):
        os.waitpid(int(pid), 0)
    assert not alive(int(pid))


def test_ctrl_c_of_the_terminal_is_not_the_childrens(tmp_path):
    code = "import os; print(os.getpgid(0) == os.getpid())"
    ends([task(tmp_path, "group", code)])
    assert (tmp_path / "group.txt").read_text() == "True\n"
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
