"""`libra data`: make, convert, describe and verify data sets."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from libra_tf.commands import data_convert, data_verify
from libra_tf.commands.data_convert import CONVERT, positive
from libra_tf.commands.data_verify import VERIFY
from libra_tf.commands.verbs import add_verb
from libra_tf.data.findings import Findings
from libra_tf.errors import shown_name

SYNTHESIZE = """\
Draws rectangles, ellipses and triangles with exact boxes and masks, in COCO's layout.

example:
  libra data synthesize shapes --train 400 --val 60
  libra data convert shapes --out shapes_tfr
"""
INFO = """\
Counts images and boxes of a converted folder. Small, medium and large are COCO's:
areas up to 32x32, from there to 96x96, and from there on; both ends belong to a range,
as in the evaluation. What was found while converting is told again.

example:
  libra data info shapes_tfr
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-verbs."""
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    convert = add_verb(verbs, "convert", "make TFRecords of a data set", CONVERT)
    data_convert.add_arguments(convert)
    _add_synthesize(add_verb(verbs, "synthesize", "draw a small data set", SYNTHESIZE))
    info = add_verb(verbs, "info", "describe a converted folder", INFO)
    info.add_argument("folder", metavar="OUT", help="folder with dataset.json")
    data_verify.add_arguments(add_verb(verbs, "verify", "read every record", VERIFY))
    for sub in verbs.choices.values():
        sub.add_argument("--json", action="store_true", help="print JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs the chosen sub-verb."""
    if args.action == "convert":
        entries = data_convert.run(args)
        summary = {"folder": os.path.abspath(args.out), "splits": entries}
        _print(summary, args.json, _split_lines(entries))
        return 0
    actions = {"synthesize": _synthesize, "info": _info, "verify": data_verify.run}
    return actions[args.action](args)


def _add_synthesize(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("out", metavar="OUT", help="folder to make")
    add("--train", type=positive, default=400, help="pictures (default %(default)s)")
    add("--val", type=positive, default=60, help="pictures (default %(default)s)")
    add("--size", type=positive, default=128, help="pixels (default %(default)s)")
    add("--seed", type=int, default=0, help="default %(default)s")
    add("--difficulty", choices=("easy", "hard", "sparse"), default="easy",
        help="default easy, 1 to 8 shapes; hard has up to 14 of more sizes, sparse up "
        "to 4 of them among many shapes of no class")  # fmt: skip


def _synthesize(args: argparse.Namespace) -> int:
    from libra_tf.data.synthesize import synthesize

    summary = synthesize(
        args.out, args.train, args.val, args.size, args.seed, args.difficulty
    )
    _print(summary, args.json, _split_lines(summary["splits"]))
    return 0


def _info(args: argparse.Namespace) -> int:
    from libra_tf.data.describe import describe

    summary = describe(args.folder)
    lines = [f"num_classes: {summary['num_classes']} (with background)"]
    for line, numbers in zip(
        _split_lines(summary["splits"]), summary["splits"].values(), strict=True
    ):
        crowds, empty = numbers["num_crowds"], numbers["images_without_boxes"]
        most = numbers["max_boxes_per_image"]
        lines.append(
            f"{line}, {_count(crowds, 'crowd')}, {_count(empty, 'image')} without "
            f"boxes, at most {_count(most, 'box')} in an image"
        )
        for key in ("per_class", "per_size"):
            counts = (f"{shown_name(n)} {count}" for n, count in numbers[key].items())
            lines.append("  " + ", ".join(counts))
        found = Findings.from_dict(numbers["findings"])
        lines += (f"  found: {text}" for text in found.lines())
    lines += _without_val(list(summary["splits"]))
    _print(summary, args.json, lines)
    return 0


def _without_val(names: list[str]) -> list[str]:
    """What to do where the split that runs evaluate on by default is not there."""
    others = [name for name in names if name not in ("train", "val")]
    if "val" in names or "train" not in names:
        return []
    cure = "part the set with --val-fraction"
    if others:
        cure = f"train with --set task.validation_split={others[0]}, or {cure}"
    return [f"no split val to evaluate on: {cure}"]


def _split_lines(splits: dict[str, dict[str, Any]]) -> list[str]:
    return [
        f"{name}: {_count(split['num_images'], 'image')}, "
        f"{_count(split['num_annotations'], 'box')}"
        for name, split in splits.items()
    ]


def _count(number: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("x") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def _print(summary: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    text = json.dumps(summary, indent=1) if as_json else "\n".join(lines)
    print(text, file=sys.stdout)
