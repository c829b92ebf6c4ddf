"""`libra measure`: what the three imbalances look like in a trained detector."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from libra_tf.commands.verbs import DATA_HELP
from libra_tf.diagnostics import IMAGES
from libra_tf.errors import UserError
from libra_tf.files.atomic import make_folder

EPILOG = """\
examples:
  libra measure runs/first
  libra measure runs/first --images 1000 --out runs/first/measures.json
  libra measure runs/first --checkpoint runs/first/ckpt-400 --data cells_tfr

Over augmented training images, the same for every run of a data set:
  sample     the IoU of the background that samplers choose, and of the hardest
  objective  how much of the box loss's gradient comes from accurate boxes
  feature    how alike neighbouring levels are before and after the neck
What a detector has not is left out, with a note.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.epilog = EPILOG
    add = parser.add_argument
    add("run", metavar="RUN_DIR", help="folder of a run; its best checkpoint")
    add("--checkpoint", metavar="PREFIX", help="another checkpoint of the run")
    add("--data", metavar="DIR", help=DATA_HELP)
    add("--split", help="split to measure on; default: the run's training split")
    add("--images", metavar="N", type=int, default=IMAGES,
        help=f"number of training images (default {IMAGES})")  # fmt: skip
    add("--out", metavar="FILE.json", help="write all numbers here")
    add("--json", action="store_true", help="print JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Measures; returns the exit code."""
    if args.images < 1:
        raise UserError(f"--images is {args.images}; give 1 or more")
    if args.out:
        if os.path.isdir(args.out):
            raise UserError(f"--out {args.out} is a folder; give the name of a file")
        make_folder(os.path.dirname(args.out) or ".")
    values = _measure(args)
    if args.out:
        from libra_tf.files.json_files import write_json

        write_json(args.out, values, indent=1)
    if args.json:
        print(json.dumps(values, indent=1))
        return 0
    from libra_tf.diagnostics.report import format_report

    print(format_report(values))
    if args.out:
        print(f"\nwritten to {args.out}")
    return 0


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    from libra_tf.data.cached import converted
    from libra_tf.diagnostics.measure import measure

    return measure(
        args.run,
        checkpoint=args.checkpoint,
        data=converted(args.data) if args.data else None,
        split=args.split,
        images=args.images,
    )
