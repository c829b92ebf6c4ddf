"""`libra replay`: a training step that was not finite, once more."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from libra_tf.training.replay import Replay

EPILOG = """\
example:
  libra replay runs/first/nonfinite/step-120
  libra replay runs/first/nonfinite/step-120 --find-operation

A training that meets a loss or gradient that is NaN or infinite keeps the batch and the
weights of that step. This runs forward and backward pass on them again. Exit code 0 if
all is finite this time, 1 if it is not. The samplers draw anew, so a fault that depends
on a draw may not come back at the first attempt.
"""
_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.epilog = EPILOG
    add = parser.add_argument
    add("step", metavar="DIR", help="kept by a training: RUN/nonfinite/step-N")
    add("--find-operation", action="store_true",
        help="name the first operation whose result is not finite")  # fmt: skip
    add("--json", action="store_true", help="print JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Replays; returns the exit code."""
    import tensorflow as tf

    from libra_tf.training.replay import replay

    try:
        failed, found = replay(args.step, find_operation=args.find_operation)
    except tf.errors.InvalidArgumentError as error:  # with --find-operation only
        print(str(error.message).strip())
        return 1
    if args.json:
        print(json.dumps([dataclasses.asdict(x) for x in found], indent=1))
    else:
        print(f"kept: {failed}")
        for one in found:
            print(_describe(one))
    return 0 if all(one.is_finite for one in found) else 1


def _describe(found: Replay) -> str:
    ids = ", ".join(map(str, found.source_ids)) or "unknown"
    low, high = found.pixels
    losses = "  ".join(f"{name} {value:.4g}" for name, value in found.losses.items())
    bad = found.not_finite
    more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    which = f": {', '.join(bad[:_SHOWN])}{more}" if bad else ""
    return "\n".join(
        [
            f"  images     {ids}, values {low:.4g} to {high:.4g}",
            f"  losses     {losses}",
            f"  gradients  {len(bad)} of {found.gradients} not finite{which}",
        ]
    )
