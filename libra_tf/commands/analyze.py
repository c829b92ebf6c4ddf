"""`libra analyze`: what a detector's errors are, as a page and as JSON."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from libra_tf.errors import UserError
from libra_tf.files.atomic import kept_if_filled

if TYPE_CHECKING:
    from libra_tf.analysis.analysis import Analysis

EPILOG = """\
examples:
  libra analyze runs/first --images photos/val
  libra analyze runs/libra --compare runs/plain
  libra analyze eval/detections.json --annotations cells_tfr/val.json --out errors

--out DIR gets report.html (one file, which opens without a network) and report.json:
COCO's figures; AP by class, size and frequency; kinds of error (TIDE); confusion
matrix; precision, recall, F1 and calibration; worst and best images; candidates of
wrong annotations; and with --compare the difference with a bootstrap interval.

Of a run, its best checkpoint is evaluated on its validation split, once; the detections
stay in RUN/analysis. For another split: libra eval --model RUN --split S --out DIR.
"""
_EXAMPLES, _FEWEST_SAMPLES = 6, 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.epilog = EPILOG
    add = parser.add_argument
    add("source", metavar="RUN|DETECTIONS.json",
        help="folder of a run, or saved detections (COCO results)")  # fmt: skip
    add("--annotations", metavar="A.json", help="ground truth of saved detections")
    add("--images", metavar="DIR", help="folder of the images, to draw them")
    add("--compare", metavar="RUN|D.json", help="a second detector on the same images")
    add("--samples", metavar="N", type=int,
        help="of the bootstrap of --compare (default 500)")  # fmt: skip
    add("--iou-type", choices=("bbox", "segm"), default="bbox",
        help="overlap of boxes or of masks (default bbox)")  # fmt: skip
    add("--threshold", metavar="SCORE", type=float,
        help="score from which detections count in pictures and confusion matrix "
        "(default: that of the best F1)")  # fmt: skip
    add("--examples", metavar="N", type=int, default=_EXAMPLES,
        help=f"worst and best images to show (default {_EXAMPLES})")  # fmt: skip
    add("--out", metavar="DIR",
        help="default: RUN/analysis, or analysis beside the detections")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Analyzes; returns the exit code."""
    from libra_tf.analysis.report import write_report
    from libra_tf.analysis.report_values import terminal_table

    _check(args)
    out = args.out or _default_out(args.source)
    with kept_if_filled(out):
        analysis = _analyze(args)
        path = write_report(analysis, out, args.images, args.examples)
    print(terminal_table(analysis))
    print(f"\nreport: {path}")
    return 0


def _check(args: argparse.Namespace) -> None:
    from libra_tf.analysis.engine import check_installed

    check_installed()
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        raise UserError(f"--threshold is {args.threshold}; give a score from 0 to 1")
    if args.examples < 0:
        raise UserError(f"--examples is {args.examples}; give 0 or more")
    if args.samples is not None and args.samples < _FEWEST_SAMPLES:
        raise UserError(
            f"--samples is {args.samples}; give {_FEWEST_SAMPLES} or more for an "
            "interval"
        )
    if args.samples is not None and not args.compare:
        raise UserError("--samples goes with --compare")
    if args.images and not os.path.isdir(args.images):
        raise UserError(f"--images {args.images}: there is no such folder")
    if _is_file(args.source) and not args.annotations:
        raise UserError(
            f"{args.source}: saved detections need --annotations, the COCO file of "
            "their images"
        )
    if not _is_file(args.source) and args.annotations:
        raise UserError(
            "--annotations goes with saved detections; a run has those of its data set"
        )


def _analyze(args: argparse.Namespace) -> Analysis:
    from libra_tf.analysis.analysis import SAMPLES, analyze

    detections, annotations = args.source, args.annotations
    if not _is_file(args.source):
        detections, annotations = _of_run(args.source)
    compared = args.compare
    if compared and not _is_file(compared):
        compared, others = _of_run(args.compare)
        _check_same(annotations, others, args.compare)
    if compared:
        print("comparing; with many images the samples take minutes", file=sys.stderr)
    return analyze(
        annotations,
        detections,
        compare=compared,
        iou_type=args.iou_type,
        threshold=args.threshold,
        samples=args.samples or SAMPLES,
    )


def _of_run(run: str) -> tuple[str, str]:
    from libra_tf.training.run_detections import run_detections

    found = run_detections(run)
    return found.detections, found.annotations


def _check_same(annotations: str, others: str, run: str) -> None:
    from libra_tf.files.json_files import read_json

    if os.path.realpath(annotations) == os.path.realpath(others):
        return
    if read_json(annotations) != read_json(others):
        raise UserError(
            f"--compare {run}: it was validated on {others}, not on {annotations}; "
            "evaluate both on one file (libra eval --data DIR), and give detections"
        )


def _is_file(source: str) -> bool:
    return source.endswith(".json")


def _default_out(source: str) -> str:
    folder = os.path.dirname(source) if _is_file(source) else source
    return os.path.join(folder, "analysis")
