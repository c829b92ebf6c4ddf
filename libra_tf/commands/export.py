"""`libra export`: a SavedModel from a run."""

from __future__ import annotations

import argparse
import json

EPILOG = """\
example:
  libra export --model runs/first --out exported

The SavedModel has three signatures, each with the argument `inputs`: serving_default
(uint8 images [B, H, W, 3]), image_bytes (encoded images [B]) and tf_example (serialized
examples [B]). The files of the last two may have any sizes, and an image_info[:, 0] of
0 marks one that cannot be decoded. Boxes are [ymin, xmin, ymax, xmax] in the resized
image; divide them by image_info[:, 2] for pixels of the original.
`python -m libra_tf.export` takes Model Garden's flags.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.epilog = EPILOG
    add = parser.add_argument
    add("--model", metavar="RUN", required=True, help="run, or checkpoint prefix")
    add("--newest", action="store_true", help="the newest checkpoint, not the best")
    add("--out", metavar="DIR", required=True, help="output folder")
    add("--batch-size", type=int, help="fixed batch size; default: any")
    add("--json", action="store_true", help="print where it is as JSON")


def run(args: argparse.Namespace) -> int:
    """Exports; returns the exit code."""
    from absl import logging

    from libra_tf.errors import UserError
    from libra_tf.files.atomic import make_folder
    from libra_tf.files.writable import require_writable
    from libra_tf.inference.serving import SIGNATURES, export_saved_model
    from libra_tf.weights.find_checkpoint import find_checkpoint

    # Keras tells what it does not save.
    logging.set_verbosity(logging.ERROR)
    if args.batch_size is not None and args.batch_size < 1:
        raise UserError(f"--batch-size is {args.batch_size}; give a number from 1")
    found = find_checkpoint(args.model, newest=args.newest)
    make_folder(args.out)
    require_writable([args.out])
    found.params.lock()
    folder = export_saved_model(
        found.params, found.path, args.out, batch_size=args.batch_size
    )
    signatures = list(SIGNATURES.values())
    if args.json:
        values = {"saved_model": folder, "checkpoint": found.path}
        print(json.dumps(values | {"signatures": signatures}, indent=1))
    else:
        print(f"{found.path} -> {folder} ({', '.join(signatures)})")
    return 0
