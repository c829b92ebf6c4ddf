"""docs/adding-a-method.md, followed on a copy of the project."""

import json
import os
import re
import shutil

import programs
import pytest
from doc_pages import ROOT, blocks

from libra_tf.commands.main import main

PAGE = ROOT / "docs" / "adding-a-method.md"
TEST = "tests/test_log_cosh.py"
# Tests of the house that a new setting or page could break.
HOUSE = [f"tests/test_{name}.py" for name in ("check_docs", "contradictions", "fields")]
FOLDERS = ("libra_tf", "configs", "docs", "results", "scripts", "tests")
FILES = ("*.md", "CITATION.cff", "LICENSE", "setup.cfg")
# The page's commands, in one process: those of `libra`, then all tests.
FOLLOW = """
import json, sys, pytest
from libra_tf.commands.main import main
verbs, tests = map(json.loads, sys.argv[1:])
assert not any([main(words) for words in verbs])
sys.exit(pytest.main(["-vv", *tests]))
"""


def apply(block, folder):
    """Writes a file, or makes the one change of a diff without line numbers."""
    path = folder / block.marks["file"]
    if block.language != "diff":
        assert not path.exists()
        path.write_text(block.text, encoding="utf-8")
        return
    before, after = (
        "\n".join(line[1:] for line in block.text.splitlines() if line[0] in kinds)
        for kinds in (" -", " +")
    )
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{path.name} has not once:\n{before}"
    path.write_text(text.replace(before, after), encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copy")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name)
    for path in (path for pattern in FILES for path in ROOT.glob(pattern)):
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def extended(copy):
    for block in blocks(PAGE):
        if "file" in block.marks:
            apply(block, copy)
    return copy


def commands():
    """Arguments of the page's commands: of `libra`, and its test files."""
    lines = [w for b in blocks(PAGE) if b.language == "sh" for w in b.commands]
    assert {words[0] for words in lines} == {"libra", "scripts/test.sh"}
    verbs = [words[1:] for words in lines if words[0] == "libra"]
    tests = [words[1:] for words in lines if words[0] == "scripts/test.sh"]
    return verbs, [file for files in tests for file in files]


@pytest.mark.slow
def test_the_page_ends_with_a_green_suite(extended):
    verbs, tests = commands()
    done = programs.run(
        ["-c", FOLLOW, json.dumps(verbs), json.dumps(tests + HOUSE)],
        cwd=extended,
        env={**os.environ, "PYTHONPATH": str(extended)},
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    written = re.findall(r"^def (test_\w+)", (extended / TEST).read_text(), re.M)
    for name in written:
        assert f"{TEST}::{name} PASSED" in done.stdout
    assert "[log-cosh] PASSED" in done.stdout


def test_its_setting_is_unknown_here(extended):
    assert main(["config", "check", str(extended / "log_cosh.yaml")]) == 1


def test_every_step_fits_the_code(extended):
    assert (extended / "libra_tf/losses/log_cosh.py").is_file()
    assert "log_cosh" in (extended / "docs/methods.md").read_text(encoding="utf-8")


def test_a_step_that_does_not_fit_is_seen(copy, extended):
    (row,) = [b for b in blocks(PAGE) if b.marks.get("file") == "docs/methods.md"]
    text = (copy / "docs/methods.md").read_text(encoding="utf-8")
    (copy / "docs/methods.md").write_text(text.replace("GHM-R", "GHM"))
    with pytest.raises(AssertionError, match="has not once"):
        apply(row, copy)
