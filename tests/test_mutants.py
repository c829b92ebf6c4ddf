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
