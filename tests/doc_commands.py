"""Checks a command line of a page by the program that it calls, without running it."""

from __future__ import annotations

import configparser
import itertools
import re
import subprocess
import sys

import programs
from doc_pages import ROOT

from libra_tf.ablation.plan_reader import load_plan
from libra_tf.commands.main import VERBS, build_parser, main
from libra_tf.errors import UserError
from libra_tf.experiments.files import find_config
from libra_tf.experiments.saved import load_experiment

ANY_EXPERIMENT = "libra_fasterrcnn_resnetfpn_coco"
WRONG = (AssertionError, SystemExit, UserError)


def check(words: list[str], records: str) -> None:
    """Raises one of `WRONG` for a wrong command.

    Args:
        words: the command line.
        records: a converted data set, in place of the reader's.
    """
    program = words[0]
    if program == "libra":
        check_libra(words[1:], records)
    elif words[:2] == ["python", "-m"]:
        check_train_binary(words[2:])
    elif program == "python":
        check_script([sys.executable, words[1]], words[1:])
    elif program.startswith("scripts/"):
        check_script(["bash", program], words)
    elif program == "pip":
        check_pip(words)
    else:
        known = ("python3 -m venv venv", ". venv/bin/activate")
        assert " ".join(words) in known, f"nobody checks {program!r}"


def check_libra(words: list[str], records: str) -> None:
    """Parses, and looks up the names of configs, plans, rows and settings."""
    verb = words[0]
    assert verb in VERBS, f"libra has no verb {verb}"
    args = build_parser(verb).parse_args(words)
    files = getattr(args, "config", []) + getattr(args, "files", [])
    shipped = [find_config(name) for name in files if not name.endswith(".yaml")]
    if hasattr(args, "experiment"):
        # A file of the reader's, whose experiment nobody knows here.
        unknown = None if shipped else ANY_EXPERIMENT
        load_experiment(args.experiment or unknown, shipped, args.set)
    if getattr(args, "plan", None):
        # One row: that all rows of a plan are good is a test of the plans.
        first = [] if args.rows else ["--rows", load_plan(args.plan).rows[0].name]
        assert main([*words, *first, "--data", records, "--dry-run"]) == 0


def check_train_binary(words: list[str]) -> None:
    """What the flags name, then the flags themselves by absl."""
    flags = dict(word.removeprefix("--").split("=", 1) for word in words[1:])
    files = [find_config(flags["config_file"])] if "config_file" in flags else []
    load_experiment(flags["experiment"], files, flags["params_override"].split(","))
    done = programs.run(["-m", *words, "--only_check_args"])
    assert done.returncode == 0, done.stderr


def check_script(program: list[str], words: list[str]) -> None:
    """The script exists, and its help names each flag."""
    assert (ROOT / words[0]).is_file(), f"no script {words[0]}"
    flags = [word for word in words[1:] if word.startswith("-")]
    if flags:
        shown = subprocess.run(
            [*program, "--help"], capture_output=True, text=True, cwd=ROOT, check=True
        ).stdout
        for flag in flags:
            assert re.search(rf"(?<![\w-]){flag}(?![\w-])", shown), f"no flag {flag}"


def check_pip(words: list[str]) -> None:
    """The extras and the file of constraints exist."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for extra in re.findall(r"\[(\w+)\]", " ".join(words)):
        assert extra in setup["options.extras_require"], f"no extra {extra}"
    for flag, value in itertools.pairwise(words):
        assert flag != "-c" or (ROOT / value).is_file(), f"no file {value}"
