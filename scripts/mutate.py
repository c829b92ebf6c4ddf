"""Breaks each method on purpose and looks whether a test fails.

    python scripts/mutate.py                 # all mutants of scripts/mutants.txt
    python scripts/mutate.py focal nms       # those of methods with these words
    python scripts/mutate.py --check         # only whether each text is still there

`mutants.txt` has a heading `# method` and below it one mutant a line:

    file :: old text :: new text :: test files

The old text has to be there exactly once. Each mutant is made in a temporary copy of
the project, and its tests run there until one fails; before the first mutant of a set
of tests they run without one. Printed are the result and the line: `killed` (a test
failed, which is right), `survived` (all passed: a test is missing), `broken` (a test
fails without the mutant too), `stale` (the old text is not there once, or the tests
cannot be run). Ends with 1 unless all were killed. A developer's tool; the suite does
only the `--check`.
"""

from __future__ import annotations

import argparse
import collections
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
MUTANTS = Path(__file__).with_name("mutants.txt")
FOLDERS = ("libra_tf", "tests", "configs", "docs", "results", "scripts")
FILES = ("*.cfg", "*.md", "*.toml", "*.txt")
# Exit codes of pytest.
PASSED, FAILED = 0, 1


class Mutant(NamedTuple):
    """One change of one file, and the names of the tests that should see it."""

    method: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.method}: {self.file}: {self.old} -> {self.new}"


def read_mutants(text: str) -> Iterator[Mutant]:
    """Mutants of a text in the form that the module tells."""
    method = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("#"):
            method = line.removeprefix("#").strip()
            continue
        file, old, new, tests = (part.strip() for part in line.split("::"))
        yield Mutant(method, file, old, new, tuple(tests.split()))


def source(mutant: Mutant) -> str | None:
    """The file's text, if it has the old text exactly once."""
    path = ROOT / "libra_tf" / mutant.file
    text = path.read_text() if path.exists() else ""
    return text if text.count(mutant.old) == 1 else None


def try_out(mutant: Mutant, folder: Path) -> str:
    """The result of the tests with one mutant in the copy in `folder`."""
    text = source(mutant)
    tests = frozenset(f"tests/test_{name}.py" for name in mutant.tests)
    if text is None or not all((ROOT / test).exists() for test in tests):
        return "stale"
    if not pass_unchanged(tests, folder):
        return "broken"
    path = folder / "libra_tf" / mutant.file
    path.write_text(text.replace(mutant.old, mutant.new))
    code = run_tests(tests, folder)
    path.write_text(text)
    return {PASSED: "survived", FAILED: "killed"}.get(code, "stale")


@functools.cache
def pass_unchanged(tests: frozenset[str], folder: Path) -> bool:
    """Whether test files pass in the copy in `folder`, in which nothing is mutated."""
    return run_tests(tests, folder) == PASSED


def run_tests(tests: Iterable[str], folder: Path) -> int:
    """Exit code of pytest with test files of the copy in `folder`."""
    # In the copy's folder, which comes before an installed package.
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-qx",
            "-p",
            "no:cacheprovider",
            *sorted(tests),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
    ).returncode


def copy_project(folder: Path) -> None:
    """Copies what the tests need into `folder`."""
    unwanted = shutil.ignore_patterns("__pycache__")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=unwanted)
    for path in (path for pattern in FILES for path in ROOT.glob(pattern)):
        shutil.copy(path, folder)


def main() -> int:
    """Tries the mutants that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="of the methods; default: all")
    parser.add_argument("--check", action="store_true", help="run no tests")
    options = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not options.check:
            copy_project(folder)
        for mutant in read_mutants(MUTANTS.read_text()):
            if options.words and not any(w in mutant.method for w in options.words):
                continue
            if options.check:
                result = "stale" if source(mutant) is None else "there"
            else:
                result = try_out(mutant, folder)
            counts[result] += 1
            print(f"{result:9}{mutant}", flush=True)
    print(", ".join(f"{count} {result}" for result, count in sorted(counts.items())))
    return int(bool(set(counts) - {"killed", "there"}))


if __name__ == "__main__":
    sys.exit(main())
