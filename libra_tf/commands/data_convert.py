"""`libra data convert`: from what an exporter left to TFRecords."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from libra_tf.data.faults import DEFAULT_SHARE
from libra_tf.data.images import MAX_PIXELS
from libra_tf.data.workers import default_workers
from libra_tf.errors import UserError

if TYPE_CHECKING:
    from libra_tf.data.records import Dataset

Source = tuple[str, "Dataset", Path]

CONVERT = """\
Reads annotations of COCO, Pascal VOC or YOLO, decodes every image once, and writes
TFRecords, a COCO file for evaluation per split, and dataset.json, which describes the
folder.
What is mended or looks wrong is counted and told; what cannot be used is refused, all
at once. If a split is refused, nothing changes.

DIR is what COCO, Roboflow, CVAT, Label Studio, labelImg, Ultralytics and others write;
splits are called train, val and test whatever they are called there (Train, valid,
train2017); docs/data.md has the table. --val-fraction parts a set without splits.

examples:
  libra data convert cells --out cells_tfr
      (cells/annotations/instances_train.json, cells/images/train/..., all splits)
  libra data convert flat --val-fraction 0.2 --out flat_tfr
      (flat/a.jpg, flat/a.xml, ...: one picture of five for evaluation)
  libra data convert yolo --out yolo_tfr
      (yolo/data.yaml, yolo/images/train/..., yolo/labels/train/...)
  libra data convert --images photos --annotations photos.json --split train --out T
  libra data convert --voc VOC2012 --split train --out voc_tfr
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what says where the data lie, then how to convert them."""
    _add_places(parser.add_argument)
    _add_rules(parser.add_argument)


def _add_places(add: Callable[..., object]) -> None:
    add("folder", metavar="DIR", nargs="?", help="folder of COCO, Pascal VOC or YOLO")
    add(
        "--from",
        dest="form",
        choices=("coco", "voc", "yolo"),
        help="what DIR is; default: what it looks like",
    )
    add("--images", metavar="I", help="image folder (with --annotations)")
    add("--annotations", metavar="J.json", help="COCO detection file")
    add("--voc", metavar="DIR", help="Pascal VOC folder; as DIR with --from voc")
    add("--split", help="split to convert; of DIR: only this one")
    add(
        "--val-fraction",
        type=_fraction,
        metavar="F",
        help="without splits: this share of the images is val, the others are train",
    )
    add("--seed", type=int, default=0, help="of --val-fraction (default %(default)s)")
    add("--out", required=True, help="folder to write to")
    add("--shards", type=positive, help="TFRecord files per split (default: by size)")
    add(
        "--workers",
        type=positive,
        default=default_workers(),
        help="processes that read images (default %(default)s)",
    )


def _add_rules(add: Callable[..., object]) -> None:
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
    add(
        "--max-pixels",
        type=positive,
        default=MAX_PIXELS,
        help="refuse larger images (default %(default)s)",
    )
    add(
        "--exif",
        choices=("refuse", "turn", "ignore"),
        default="refuse",
        help="for a picture that its EXIF tag turns and whose size is annotated as it "
        "is stored: refuse it, take the boxes as drawn on the upright picture, or "
        "ignore the tag (default %(default)s)",
    )
    add(
        "--classes",
        help="class names in order of their ids, a,b,c (default: VOC sorted, COCO as "
        "in the file)",
    )
    add(
        "--difficult",
        choices=("crowd", "keep", "drop"),
        default="crowd",
        help="VOC: difficult objects become crowds, which evaluation ignores; or keep "
        "or drop them (default %(default)s)",
    )


def run(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Converts; returns the entries of `dataset.json` by split."""
    from libra_tf.data.convert import convert_all

    _check_ways(args)
    return convert_all(
        _sources(args),
        args.out,
        num_shards=args.shards,
        workers=args.workers,
        strict=args.strict,
        skip_bad=args.skip_bad,
        masks=args.masks,
        max_pixels=args.max_pixels,
        exif=args.exif,
    )


def positive(text: str) -> int:
    """Returns a number from 1; for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


def _number(text: str) -> float:
    """Returns the number; one that is in no range where the text is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _fraction(text: str) -> float:
    value = _number(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} does not lie between 0 and 1")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no share from 0 to 1; write --skip-bad after DIR, or "
            f"--skip-bad={DEFAULT_SHARE:g}"
        )
    return value


def _check_ways(args: argparse.Namespace) -> None:
    ways = [args.folder is not None, args.voc is not None, args.annotations is not None]
    if sum(ways) != 1 or (args.annotations is None) != (args.images is None):
        raise UserError(
            "name one source: DIR, or --images with --annotations, or --voc DIR"
        )
    if args.annotations and (args.split is None) == (args.val_fraction is None):
        raise UserError(
            "give the split a name with --split, for example train, or part it with "
            "--val-fraction, for example 0.2"
        )
    if not args.out:
        raise UserError("--out is empty; name the folder to write to")
    sources = [args.folder, args.voc, args.images]
    sources += [os.path.dirname(args.annotations) or "."] if args.annotations else []
    _check_out(Path(args.out), [Path(source) for source in sources if source])


def _check_out(out: Path, sources: Sequence[Path]) -> None:
    """Refuses to write among a source's own files, or over those of others."""
    foreign = _foreign_files(out)
    for source in sources:
        real, root = out.resolve(), source.resolve()
        if real == root or (root in real.parents and foreign):
            raise UserError(
                f"--out {out}: the source lies there ({source}); name another folder"
            )
    _refuse_overwriting(out, foreign)


def _foreign_files(out: Path) -> list[str]:
    """Returns what lies in a folder that no conversion has written."""
    from libra_tf.data.manifest import FILE_NAME

    if not out.is_dir() or (out / FILE_NAME).exists():
        return []
    try:
        return sorted(file.name for file in out.iterdir())
    except OSError as error:
        raise UserError(f"--out {out}: cannot be read: {error.strerror}") from error


def _refuse_overwriting(out: Path, names: list[str]) -> None:
    """Refuses to write over files that no conversion has written."""
    endings = (".json", ".tfrecord", ".skipped.txt")
    foreign = [n for n in names if n.endswith(endings) and not n.startswith(".")]
    if foreign:
        raise UserError(
            f"--out {out}: holds {foreign[0]}, which no conversion has written (there "
            "is no dataset.json); name another folder"
        )


def _sources(args: argparse.Namespace) -> Iterator[Source]:
    """Yields split name, data set and image folder of every split asked for."""
    from libra_tf.data.layout import layout_sources

    classes = None
    if args.classes is not None:
        classes = [name.strip() for name in args.classes.split(",")]
    if args.annotations:
        yield from _file_sources(args, classes)
        return
    yield from layout_sources(
        args.folder or args.voc,
        args.split,
        classes=classes,
        difficult=args.difficult,
        val_fraction=args.val_fraction,
        seed=args.seed,
        form="voc" if args.voc is not None else args.form,
    )


def _file_sources(
    args: argparse.Namespace, classes: list[str] | None
) -> Iterator[Source]:
    from libra_tf.data.class_list import one_class_list
    from libra_tf.data.coco import read_coco
    from libra_tf.data.parts import part

    (dataset,) = one_class_list([read_coco(args.annotations)], classes)
    if args.val_fraction is None:
        yield args.split, dataset, Path(args.images)
        return
    train, val = part(dataset, args.val_fraction, args.seed)
    yield "train", train, Path(args.images)
    yield "val", val, Path(args.images)
