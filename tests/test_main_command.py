"""The `libra` command: verbs, help, exit codes; and `libra doctor`."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
import types

import pytest

from libra_tf import __version__
from libra_tf.commands import doctor
from libra_tf.commands import main as module
from libra_tf.commands.main import VERBS, main
from libra_tf.errors import UserError

LEAVES = [
    "train", "eval", "predict", "export", "doctor", "config list", "config show",
    "config check", "config docs",
]  # fmt: skip


def exit_code(words):
    with pytest.raises(SystemExit) as end:
        main(words)
    return end.value.code


def test_version(capsys):
    assert exit_code(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_help_lists_every_verb(capsys):
    assert exit_code(["--help"]) == 0
    out = capsys.readouterr().out
    for verb, text in VERBS.items():
        assert f"    {verb}" in out
        assert text in out


@pytest.mark.parametrize("words", [[], ["dance"], ["train", "--dance"]])
def test_an_unknown_word_is_refused_with_usage(capsys, words):
    assert exit_code(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: libra")


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["evl"], "eval"),
        (["data", "convrt"], "convert"),
        (["train", "--confg", "x", "--out", "y"], "--config"),
        (["data", "convert", "x", "--out", "y", "--val-fractoin=.2"], "--val-fraction"),
        (["config", "list", "--exif", "ignore"], None),
    ],
)
def test_a_slip_gets_a_suggestion(capsys, words, near):
    assert exit_code(words) == 2
    err = capsys.readouterr().err
    assert err.endswith(f"; did you mean {near}?\n") == (near is not None), err


def test_a_reader_that_ends_before_us_is_no_fault():
    """As `libra config list | head -1`."""
    words = [sys.executable, "-m", "libra_tf.commands.main", "config", "docs"]
    done = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    done.stdout.close()
    assert done.stderr.read() == b""
    assert done.wait() == 141


def sub_verbs(verb):
    """The verbs below a verb, as argparse knows them."""
    parser = module.build_parser(verb)
    (verbs,) = (a for a in parser._actions if a.dest == "verb")
    for action in verbs.choices[verb]._actions:
        if isinstance(action.choices, dict):
            return list(action.choices)
    return []


@pytest.mark.parametrize("verb", VERBS)
def test_every_help_has_an_example(capsys, verb):
    below = sub_verbs(verb)
    for words in [[verb, name] for name in below] or [[verb]]:
        assert exit_code([*words, "--help"]) == 0
        out = capsys.readouterr().out
        _, title, example = out.partition("\nexample")
        assert title, words
        assert f"  libra {' '.join(words)}" in example


def run_instead(monkeypatch, run):
    """Puts `run` in the place of `libra doctor`."""
    monkeypatch.setattr(doctor, "run", run)
    return main(["doctor"])


def test_a_mistake_of_the_user_is_one_line(capsys, monkeypatch):
    def run(args):
        raise UserError("a.yaml: is wrong")

    assert run_instead(monkeypatch, run) == 2
    assert capsys.readouterr() == ("", "libra: error: a.yaml: is wrong\n")


def test_a_defect_of_the_program_is_a_traceback(monkeypatch):
    def run(args):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_instead(monkeypatch, run)


def test_interruption(capsys, monkeypatch):
    def run(args):
        raise KeyboardInterrupt

    assert run_instead(monkeypatch, run) == 130
    assert capsys.readouterr().err == "libra: interrupted\n"


def test_sigterm(monkeypatch):
    """At any moment, such as while a detector is built."""

    def run(args):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20)

    before = signal.getsignal(signal.SIGTERM)
    try:
        assert run_instead(monkeypatch, run) == 75
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_exit_code_is_the_verbs(monkeypatch, code):
    assert run_instead(monkeypatch, lambda args: code) == code


def test_a_real_mistake(capsys, tmp_path):
    model, folder = tmp_path / "model", tmp_path / "out"
    model.mkdir()
    assert main(["export", "--model", str(model), "--out", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"libra: error: {model}: no checkpoint in this folder\n"
    assert not folder.exists()


def test_what_model_garden_does_wrong_is_not_told_to_our_users():
    main(["config", "list"])
    assert logging.getLogger("tensorflow").level == logging.ERROR


def test_doctor_finds_this_installation_healthy(capsys):
    assert main(["doctor", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == len(doctor.CHECKS)
    assert all(row["ok"] and row["text"] for row in rows)
    assert rows[0]["check"] == "Python"


def test_doctor_tells_what_is_broken_and_goes_on(capsys, monkeypatch):
    def broken():
        """A thing."""
        raise RuntimeError("is\nbroken")

    def whole():
        """Another."""
        return "fine"

    monkeypatch.setattr(doctor, "CHECKS", (broken, whole))
    assert doctor.run(types.SimpleNamespace(json=False)) == 1
    assert capsys.readouterr().out.splitlines() == [
        "FAIL  A thing: is broken",
        "ok    Another: fine",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["eval", "--model", "m", "--set", "task.validation_split=val"],
            "--set task.validation_split=val: use --split NAME",
        ),
        (
            ["train", "--out", "o", "--config", "libra_retinanet_resnetfpn_coco"],
            "is an experiment: give it as --experiment libra_retinanet_resnetfpn_coco",
        ),
    ],
)
def test_a_word_in_the_wrong_place_is_told_its_own(capsys, words, said):
    assert main(words) == 2
    assert said in capsys.readouterr().err
