"""Entry point of the `libra` command."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys

from libra_tf import __version__
from libra_tf.commands.verbs import Parser, add_verb
from libra_tf.errors import UserError, terminate
from libra_tf.files import environment
from libra_tf.files.disk import named_disk_errors
from libra_tf.files.printable import safe_output

# Order of a first session. Modules load only when their verb is asked for, so that
# `libra --help` answers at once.
VERBS = {
    "data": "make, convert, describe and verify data sets",
    "config": "list, show and check experiment files",
    "train": "train a detector",
    "replay": "run a training step again that was not finite",
    "eval": "evaluate a checkpoint or saved detections",
    "analyze": "show the errors of a detector, and doubtful annotations",
    "plot": "draw learning curves, box losses and ablations",
    "ablate": "train the rows of a table over seeds, and compare them",
    "measure": "what the three imbalances look like in a trained detector",
    "predict": "detect objects in images",
    "export": "write a SavedModel",
    "weights": "import published PyTorch detectors",
    "doctor": "check this installation",
}


def build_parser(verb: str | None) -> argparse.ArgumentParser:
    """Returns the parser; only the sub-parser of `verb` (if known) is filled in."""
    parser = Parser(prog="libra", description="Balanced training of object detectors.")
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, text in VERBS.items():
        sub = add_verb(verbs, name, text)
        if name == verb:
            importlib.import_module(f"libra_tf.commands.{name}").add_arguments(sub)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs one verb; returns its exit code (0 only on success)."""
    argv = sys.argv[1:] if argv is None else argv
    environment.prepare()
    # Model Garden uses what is deprecated, and Keras tells what it does not save.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    verb = next((word for word in argv if not word.startswith("-")), None)
    args = build_parser(verb).parse_args(argv)
    signal.signal(signal.SIGTERM, terminate)
    with safe_output():
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    command = importlib.import_module(f"libra_tf.commands.{args.verb}")
    try:
        with named_disk_errors():
            return command.run(args) or 0
    except UserError as error:
        print(f"libra: error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has ended, as `head` does; nobody is there to be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt as stop:
        print("libra: interrupted", file=sys.stderr)
        return getattr(stop, "exit_code", 130)


if __name__ == "__main__":
    sys.exit(main())
