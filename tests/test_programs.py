"""The tests' own machinery: programs in forks, and hints that are read once."""

import dataclasses
import json
import subprocess
import typing

import programs
import pytest
from official.modeling import hyperparams

from libra_tf.experiments.task_config import RuntimeConfig

SEEN = """
import json, os, sys
modules = {name.partition(".")[0] for name in sys.modules}
print(json.dumps([sys.argv[1:], os.getcwd(), os.environ.get("WORD"), sorted(modules)]))
print("told", file=sys.stderr)
sys.exit(3)
"""


def test_a_program_is_as_in_a_process_of_its_own(tmp_path, capfd):
    done = programs.run(["-c", SEEN, "a b", "c"], cwd=tmp_path, env={"WORD": "x"})
    words, folder, word, modules = json.loads(done.stdout)
    assert (words, folder, word) == (["a b", "c"], str(tmp_path), "x")
    assert "tensorflow" in modules
    assert not {"libra_tf", "conftest", "pytest"} & set(modules)
    assert (done.returncode, done.stderr) == (3, "told\n")
    assert capfd.readouterr() == ("", "")


def test_an_error_is_told():
    done = programs.run(["-m", "json.tool", "--no-such-flag"])
    assert done.returncode == 2
    assert "--no-such-flag" in done.stderr
    done = programs.run(["-c", "import os; os.environ['x']; 1 / 0"])
    assert done.returncode == 1
    assert "KeyError" in done.stderr


def test_a_program_that_does_not_end_is_killed():
    with pytest.raises(subprocess.TimeoutExpired):
        programs.run(["-c", "import time; time.sleep(100)"], timeout=0.5)


def test_hints_are_those_of_each_class():
    @dataclasses.dataclass
    class Longer(RuntimeConfig):
        more: hyperparams.Config = dataclasses.field(default_factory=hyperparams.Config)

    read = typing.get_type_hints.__wrapped__
    for _ in range(2):
        for cls in (RuntimeConfig, Longer):
            hints = typing.get_type_hints(cls)
            assert hints == read(cls)
            hints.clear()  # what a caller does to its own changes no other's
    assert "more" in Longer._get_annotations()
