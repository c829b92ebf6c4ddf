"""`libra data`: make, convert and describe data sets."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from libra_tf.commands.verbs import add_verb
from libra_tf.data.faults import DEFAULT_SHARE
from libra_tf.data.findings import Findings
from libra_tf.errors import UserError

if TYPE_CHECKING:
    from libra_tf.data.records import Dataset

MAX_DEFAULT_WORKERS = 8

CONVERT = """\
Reads COCO annotations or Pascal VOC, decodes every image once, and writes TFRecords,
a COCO file for evaluation per split, and dataset.json, which describes the folder.
What is mended or looks wrong is counted and told; what cannot be used is refused, all
at once. If a split is refused, nothing changes.

examples:
  libra data convert cells --out cells_tfr
      (cells/annotations/instances_train.json, cells/images/train/..., all splits)
  libra data convert --images photos --annotations photos.json --split train --out T
  libra data convert --voc VOC2012 --split train --out voc_tfr
"""
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
    _add_convert(add_verb(verbs, "convert", "make TFRecords from COCO or VOC", CONVERT))
    _add_synthesize(add_verb(verbs, "synthesize", "draw a small data set", SYNTHESIZE))
    info = add_verb(verbs, "info", "describe a converted folder", INFO)
    info.add_argument("folder", metavar="OUT", help="folder with dataset.json")
    for sub in verbs.choices.values():
        sub.add_argument("--json", action="store_true", help="print JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs the chosen sub-verb."""
    return {"convert": _convert, "synthesize": _synthesize, "info": _info}[args.action](
        args
    )


def _add_convert(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", metavar="DIR", nargs="?", help="folder in COCO's layout")
    add("--images", metavar="I", help="image folder (with --annotations, --split)")
    add("--annotations", metavar="J.json", help="COCO detection file")
    add("--voc", metavar="DIR", help="Pascal VOC folder (with --split)")
    add("--split", help="split to convert; of DIR: only this one")
    add("--out", required=True, help="folder to write to")
    add("--shards", type=_positive, help="TFRecord files per split (default: by size)")
    add(
        "--workers",
        type=_positive,
        default=min(os.cpu_count() or 1, MAX_DEFAULT_WORKERS),
        help="processes that read images (default %(default)s)",
    )
    add("--strict", action="store_true", help="refuse what would be mended or is odd")
    add(
        "--skip-bad",
        type=_share,
        nargs="?",
        const=DEFAULT_SHARE,
        metavar="SHARE",
        help="leave bad pictures out, up to this share of a split (default "
        f"{DEFAULT_SHARE:g}), and list them in OUT/SPLIT.skipped.txt",
    )
    add(
        "--masks",
        action=argparse.BooleanOptionalAction,
        help="write masks (default: where there are segmentations)",
    )
    add("--max-pixels", type=_positive, help="refuse larger images (default 50000000)")
    add(
        "--exif",
        choices=("refuse", "turn", "ignore"),
        default="refuse",
        help="for a picture that its EXIF tag turns and whose size is annotated as it "
        "is stored: refuse it, take the boxes as drawn on the upright picture, or "
        "ignore the tag (default %(default)s)",
    )
    add("--classes", help="VOC: class names in order, a,b,c (default: sorted)")
    add(
        "--difficult",
        choices=("crowd", "keep", "drop"),
        default="crowd",
        help="VOC: difficult objects become crowds, which evaluation ignores; or keep "
        "or drop them (default %(default)s)",
    )


def _add_synthesize(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("out", metavar="OUT", help="folder to make")
    add("--train", type=_positive, default=400, help="pictures (default %(default)s)")
    add("--val", type=_positive, default=60, help="pictures (default %(default)s)")
    add("--size", type=_positive, default=128, help="pixels (default %(default)s)")
    add("--seed", type=int, default=0, help="default %(default)s")
    add("--difficulty", choices=("easy", "hard", "sparse"), default="easy",
        help="default easy, 1 to 8 shapes; hard has up to 14 of more sizes, sparse up "
        "to 4 of them among many shapes of no class")  # fmt: skip


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no share from 0 to 1; write --skip-bad after DIR, or "
            f"--skip-bad={DEFAULT_SHARE:g}"
        )
    return value


def _convert(args: argparse.Namespace) -> int:
    from libra_tf.data.convert import convert_all
    from libra_tf.data.images import MAX_PIXELS

    entries = convert_all(
        _sources(args),
        args.out,
        num_shards=args.shards,
        workers=args.workers,
        strict=args.strict,
        skip_bad=args.skip_bad,
        masks=args.masks,
        max_pixels=args.max_pixels or MAX_PIXELS,
        exif=args.exif,
    )
    summary = {"folder": os.path.abspath(args.out), "splits": entries}
    _print(summary, args.json, _split_lines(entries))
    return 0


def _sources(args: argparse.Namespace) -> Iterator[tuple[str, Dataset, Path]]:
    """Yields split name, data set and image folder of every split asked for."""
    ways = [args.folder is not None, args.voc is not None, args.annotations is not None]
    if sum(ways) != 1 or (args.annotations is None) != (args.images is None):
        raise UserError(
            "name one source: DIR, or --images with --annotations, or --voc DIR"
        )
    from libra_tf.data.layout import layout_sources

    if args.folder is not None:
        yield from layout_sources(args.folder, args.split)
        return
    if not args.split:
        raise UserError("give the split a name with --split, for example train")
    if args.voc is not None:
        yield args.split, _read_voc(args), Path(args.voc) / "JPEGImages"
        return
    from libra_tf.data.coco import read_coco

    yield args.split, read_coco(args.annotations), Path(args.images)


def _read_voc(args: argparse.Namespace) -> Dataset:
    from libra_tf.data.voc import read_voc

    classes = args.classes.split(",") if args.classes else None
    return read_voc(args.voc, args.split, classes, args.difficult)


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
        lines.append(
            f"{line}, {crowds} crowds, {empty} images without boxes, at most "
            f"{numbers['max_boxes_per_image']} boxes in an image"
        )
        for key in ("per_class", "per_size"):
            counts = (f"{name} {count}" for name, count in numbers[key].items())
            lines.append("  " + ", ".join(counts))
        found = Findings.from_dict(numbers["findings"])
        lines += (f"  found: {text}" for text in found.lines())
    _print(summary, args.json, lines)
    return 0


def _split_lines(splits: dict[str, dict[str, Any]]) -> list[str]:
    return [
        f"{name}: {split['num_images']} images, {split['num_annotations']} boxes"
        for name, split in splits.items()
    ]


def _print(summary: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    text = json.dumps(summary, indent=1) if as_json else "\n".join(lines)
    print(text, file=sys.stdout)
