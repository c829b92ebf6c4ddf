"""Commands and examples of the pages: all are parsed, those without a mark run."""

import contextlib
import os
import re
import subprocess
import sys

import doc_commands
import pytest
import tiny
from doc_pages import PAGES, ROOT, all_blocks, blocks

from libra_tf.commands.main import VERBS, main
from libra_tf.data.synthesize import synthesize
from libra_tf.experiments.saved import dump_params

# What a block may need that the tests do not have; CONTRIBUTING.md tells it.
NEEDS = {
    "minutes", "gpu", "network", "bccd", "coco", "voc", "checkpoint", "mmdetection",
    "edits", "cluster",
}  # fmt: skip
COMMANDS = [words for block in all_blocks("sh") for words in block.commands]
# README trains what the pages after it use.
README = ROOT / "README.md"
OTHERS = [page for page in PAGES if page != README]


def runs(block):
    """Whether a test runs the block: no mark says otherwise."""
    return block.language in ("sh", "python") and not block.marks


def run_block(block):
    if block.language == "python":
        return run_python(block.text)
    for words in block.commands:
        if words[0] == "libra":
            small = ["--config", "tiny.yaml"] if words[1] == "train" else []
            assert main([*words[1:], *small]) == 0, words
        else:
            assert words[0] == "python", words
            script = [sys.executable, *words[1:]]
            subprocess.run(script, check=True, cwd=ROOT, capture_output=True)


def run_python(source):
    """In a new process, as a reader's: without what the tests set for Keras."""
    env = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stderr[-2000:]


@contextlib.contextmanager
def inside(folder):
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def tiny_settings():
    """A file that, laid over a config, makes it train in seconds."""
    params = tiny.experiment("libra_fasterrcnn_resnetfpn_coco")
    params.override({"task": {"model": {"num_classes": 0}}})
    return dump_params(params)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a reader works: a folder of pictures, and after README a trained run."""
    folder = tmp_path_factory.mktemp("reader")
    synthesize(folder / "cells", num_train=6, num_val=3, size=tiny.SIZE, seed=1)
    (folder / "tiny.yaml").write_text(tiny_settings())
    with inside(folder):
        for block in filter(runs, blocks(README)):
            run_block(block)
    return folder


@pytest.mark.slow
def test_readme_runs(folder):
    for made in ("predictions/detections.json", "exported/saved_model"):
        assert (folder / made).exists()
    assert (folder / "runs/cells/eval/metrics.json").is_file()


@pytest.mark.nightly
@pytest.mark.parametrize(
    "page",
    [page for page in OTHERS if any(map(runs, blocks(page)))],
    ids=lambda page: page.stem,
)
def test_page_runs(page, folder):
    with inside(folder):
        for block in filter(runs, blocks(page)):
            run_block(block)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_command_is_parsed(words, records, capsys):
    doc_commands.check(words, records)


@pytest.mark.parametrize(
    "line",
    [
        "libra dance",
        "libra train --dance --out runs",
        "libra train --config bccd/libra_fastercnn --out runs",
        "libra train --config bccd/libra_fasterrcnn --set task.modle.neck=x --out runs",
        "libra train --experiment libra_yolo --out runs",
        "libra config check bccd/nothing",
        "libra ablate libra_table9 --data d --out o",
        "libra ablate libra_table2 --data d --out o --rows 9_nothing",
        "python -m libra_tf.train --experiment=libra_yolo --params_override=a=1",
        "python scripts/nothing.py",
        "scripts/quickstart.sh --dat cells",
        "pip install -e .[fats]",
        "pip install -c constraint.txt -e .",
        "conda install libra_tf",
    ],
)
def test_a_wrong_command_is_seen(line, records, capsys):
    with pytest.raises(doc_commands.WRONG):
        doc_commands.check(line.split(), records)


def test_marks_are_known():
    found = {need for block in all_blocks("sh") for need in block.needs}
    assert found <= NEEDS
    told = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert all(f"`{need}`" in told or f"={need}`" in told for need in found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_command_stands_outside_a_block(page):
    indented = r"^ {4}(?:libra|pip|python|scripts/\w+\.sh)\b.*$"
    outside = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.M)
    assert not re.findall(indented, outside, flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_verbs_that_are_named_exist(page):
    for verb in re.findall(r"`libra (\w+)", page.read_text(encoding="utf-8")):
        assert verb in VERBS
