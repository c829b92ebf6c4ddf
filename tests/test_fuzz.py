"""Ten thousand inputs of eight kinds: each is used, or refused in a clear line.

Settings of the command line are in `test_every_setting`, files of PyTorch in
`test_torch_fuzz`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing import run

from libra_tf.errors import UserError

TESTS = Path(__file__).parent
# By what one takes; together 25 seconds of one core.
DAILY = {
    "coco": 150, "voc": 150, "records": 300, "dataset_json": 150, "settings": 100,
    "plans": 50, "detections": 200, "pictures": 400,
}  # fmt: skip
NIGHTLY = {
    "coco": 1200, "voc": 1000, "records": 1500, "dataset_json": 1000, "settings": 600,
    "plans": 400, "detections": 1500, "pictures": 2800,
}  # fmt: skip


def python(*words):
    """Returns the JSON that a program of the tests prints."""
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def outcomes(folder, *words):
    return python(TESTS / "fuzzing" / "run.py", folder, *words)


def check(found, counts, first=0):
    """Tells what came of the seeds, and fails if one went wrong."""
    failures = []
    for name, count in counts.items():
        cases = found[f"{name}:{first}:{first + count}"]
        good = sum(each["good"] for _, each in cases)
        bad = [(name, seed, each["error"]) for seed, each in cases if each["error"]]
        seconds = sum(each["seconds"] for _, each in cases)
        print(f"{name}: {len(cases)} inputs, {good} good, {seconds:.0f} s")
        print(f"failures: {bad}")
        failures += bad
        assert len(cases) == count
        # Not all are refused at the door, and not all are taken.
        assert 0.05 < good / count < 0.95, name
    assert failures == []


def words(counts, first=0):
    return [f"{name}:{first}:{first + count}" for name, count in counts.items()]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What came of the daily seeds and of the cases that were found."""
    folder = tmp_path_factory.mktemp("fuzz")
    return outcomes(folder, *words(DAILY), *(f"{name}:found" for name in run.KINDS))


@pytest.mark.slow
@pytest.mark.parametrize("name", run.KINDS)
def test_generated_inputs(found, name):
    check(found, {name: DAILY[name]})


@pytest.mark.slow
@pytest.mark.parametrize(("name", "case"), [*run.found_cases()])
def test_found_before(found, name, case):
    (outcome,) = [each for key, each in found[f"{name}:found"] if key == case]
    assert outcome["error"] is None


@pytest.mark.nightly
def test_ten_thousand_generated_inputs(tmp_path):
    assert sum(NIGHTLY.values()) == 10_000
    check(outcomes(tmp_path, *words(NIGHTLY, 10_000)), NIGHTLY, 10_000)


class Kind:
    """One use, in place of a kind of inputs."""

    lists_faults = False

    def __init__(self, folder, use):
        self.use, self.kept = use, [folder / "out"]

    def uses(self):
        yield self.use


def outcome(folder, use, lists_faults=False):
    kind = Kind(folder, use)
    kind.lists_faults = lists_faults
    return run.Judge(kind, folder).outcome()


def refuse(*lines):
    raise UserError(*lines)


def test_the_judge_sees_what_is_good_and_what_is_refused(tmp_path):
    assert outcome(tmp_path, lambda: None)
    assert outcome(tmp_path, lambda: 0)
    assert not outcome(tmp_path, lambda: refuse(f"{tmp_path}/a: mend it"))
    lines = [f"{tmp_path}/a: mend it", "2 of 3 pictures are bad: mend them"]
    assert not outcome(tmp_path, lambda: refuse(*lines), lists_faults=True)
    assert not outcome(tmp_path, lambda: (print(f"{tmp_path}/a: bad"), 2)[1])


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda folder: {}["a"], "'a'"),
        (lambda folder: refuse("mend it"), "no file: mend it"),
        (lambda folder: refuse(f"{folder}: a", f"{folder}: b"), "a.*b"),
        (lambda folder: 2, "says nothing"),
        (lambda folder: print(f"{folder}: \x1b[2J"), "printed"),
        (lambda folder: os.write(2, b"x" * 5000), "characters"),
        (lambda folder: print("Traceback (most recent call last):"), "Traceback"),
        (lambda folder: ((folder / "out").mkdir(), refuse(f"{folder}: a")), "left"),
    ],
)
def test_the_judge_sees_what_must_not_be(tmp_path, use, message):
    with pytest.raises((AssertionError, KeyError), match=message):
        outcome(tmp_path, lambda: use(tmp_path))


PROGRAM = """
import json, os, signal, sys, time, types
from fuzzing import run

class Kind:
    kept, lists_faults = (), False
    def __init__(self, folder): pass
    def fresh(self): pass
    def save(self, use): self.use = use
    def uses(self): yield self.use

def be_deaf():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    time.sleep(60)

def loop():
    while True: pass

uses = {"good": int, "ends": os.abort, "is deaf": be_deaf, "loops": loop,
        "takes all": lambda: len(bytes(2**34)), "good too": int}
module = sys.modules["fuzzing.a"] = types.ModuleType("fuzzing.a")
module.FOUND = {name: lambda _, use=use: use for name, use in uses.items()}
module.Kind, run.KINDS["a"], run.SECONDS, run.SILENCE = Kind, "Kind", 0.2, 1.0
found = run.run("a", sys.argv[1], uses)
print(json.dumps({name: each["error"] for name, each in found.items()}))
"""


def test_what_ends_a_process_is_told_and_the_others_go_on(tmp_path):
    found = python("-c", PROGRAM, tmp_path)
    assert found["good"] is found["good too"] is None
    assert found["ends"] == "the process ended: 6"
    assert found["is deaf"] == "more than 1.0 seconds"
    assert "TimeoutError" in found["loops"]
    assert "MemoryError" in found["takes all"]
