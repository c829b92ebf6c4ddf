"""scripts/mutants.txt: every mutant still fits the code and names tests that exist."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_SPEC = importlib.util.spec_from_file_location("mutate", ROOT / "scripts" / "mutate.py")
mutate = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(mutate)
MUTANTS = list(mutate.read_mutants(mutate.MUTANTS.read_text(encoding="utf-8")))


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_the_old_text_is_there_once(mutant):
    assert mutate.source(mutant) is not None
    assert mutant.old != mutant.new
    for name in mutant.tests:
        assert (ROOT / "tests" / f"test_{name}.py").is_file()


def test_a_text_that_is_not_there_once_is_stale():
    mutant = MUTANTS[0]
    for old in ("there is no such text", "\n"):
        assert mutate.source(mutant._replace(old=old)) is None
    assert mutate.source(mutant._replace(file="ops/gone.py")) is None


@pytest.fixture
def project(tmp_path, monkeypatch):
    """One file with a test that passes and one that fails; and a copy of it."""
    monkeypatch.setattr(mutate, "ROOT", tmp_path / "project")
    for name in mutate.FOLDERS:
        (mutate.ROOT / name).mkdir(parents=True)
    (mutate.ROOT / "libra_tf" / "__init__.py").touch()
    (mutate.ROOT / "libra_tf" / "one.py").write_text("ONE = 1\nunused = 1\n")
    for name, value in (("good", 1), ("bad", 2)):
        test = f"from libra_tf import one\ndef test():\n    assert one.ONE == {value}\n"
        (mutate.ROOT / "tests" / f"test_{name}.py").write_text(test)
    mutate.copy_project(tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize(
    ("old", "tests", "result"),
    [
        ("ONE = 1", ["good"], "killed"),
        ("unused = 1", ["good"], "survived"),
        ("ONE = 1", ["bad"], "broken"),
        ("ONE = 1", ["good", "bad"], "broken"),
        ("ONE = 3", ["good"], "stale"),
        ("ONE = 1", ["gone"], "stale"),
    ],
)
def test_the_result_of_a_mutant(project, old, tests, result):
    mutant = mutate.Mutant("a method", "one.py", old, old[:-1] + "0", tuple(tests))
    assert mutate.try_out(mutant, project) == result
    assert (project / "libra_tf/one.py").read_text().startswith("ONE = 1\n")
