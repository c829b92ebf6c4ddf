"""docs/adding-a-method.md, followed on a copy of the project."""

import os
import shutil
import subprocess
import sys

import pytest
from doc_pages import ROOT, blocks

PAGE = ROOT / "docs" / "adding-a-method.md"
COPIED = ("libra_tf", "configs", "docs", "tests", "setup.cfg")


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
    for name in COPIED:
        take = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        take(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def extended(copy):
    for block in blocks(PAGE):
        if "file" in block.marks:
            apply(block, copy)
    return copy


def python(folder, *words):
    env = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=folder, env=env
    )


@pytest.mark.slow
def test_the_method_works(extended):
    done = python(extended, "-m", "pytest", "tests/test_log_cosh.py")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "7 passed" in done.stdout


@pytest.mark.slow
def test_its_setting_is_known_there_and_only_there(extended):
    words = ["-m", "libra_tf.commands.main", "config", "check"]
    config = str(extended / "log_cosh.yaml")
    done = python(extended, *words, config)
    assert done.returncode == 0, done.stdout + done.stderr
    assert python(ROOT, *words, config).returncode == 1


def test_every_step_fits_the_code(extended):
    assert (extended / "libra_tf/losses/log_cosh.py").is_file()
    assert "log_cosh" in (extended / "docs/methods.md").read_text(encoding="utf-8")


def test_a_step_that_does_not_fit_is_seen(copy, extended):
    (row,) = [b for b in blocks(PAGE) if b.marks.get("file") == "docs/methods.md"]
    text = (copy / "docs/methods.md").read_text(encoding="utf-8")
    (copy / "docs/methods.md").write_text(text.replace("GHM-R", "GHM"))
    with pytest.raises(AssertionError, match="has not once"):
        apply(row, copy)
