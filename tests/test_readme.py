"""The README's commands and examples are real."""

from __future__ import annotations

import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from libra_tf.commands.main import VERBS, build_parser, main

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(name: str) -> list[list[str]]:
    """Returns the indented commands that start with `name`, continued lines joined."""
    text = README.replace("\\\n", " ")
    lines = [x.strip() for x in text.splitlines() if x.startswith("    ")]
    return [shlex.split(x, comments=True) for x in lines if x.split()[:1] == [name]]


@pytest.mark.parametrize("command", commands("libra"), ids=" ".join)
def test_libra_commands_parse(command):
    build_parser(command[1]).parse_args(command[1:])
    assert command[1] in VERBS


def test_config_commands_work(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    for command in commands("libra"):
        if command[1] == "config":
            assert main(command[1:]) == 0, command
            assert capsys.readouterr().out


@pytest.mark.parametrize(
    "source", re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
)
def test_python_examples_run(source):
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_files_and_configs_that_are_named_exist():
    names = re.findall(r"\]\(([\w/.]+)\)", README)
    names += re.findall(r"(configs/[\w/.]+\.yaml|scripts/\w+\.sh)", README)
    assert names
    for name in names:
        assert (ROOT / name).exists(), name


def test_nothing_is_left_to_fill_in():
    assert "@@" not in README
