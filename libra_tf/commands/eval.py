"""`libra eval`: COCO metrics of a checkpoint or of saved detections."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from typing import Any

from libra_tf.commands.verbs import DATA_HELP
from libra_tf.errors import UserError
from libra_tf.files.atomic import kept_if_filled
from libra_tf.files.writable import require_writable

EPILOG = """\
examples:
  libra eval --model runs/first --out runs/first/eval
  libra eval --model runs/first --data cells_tfr --split test --out eval_test
  libra eval --detections eval_test/detections.json --annotations cells_tfr/test.json

--out DIR gets metrics.json and TensorBoard events; with --model also detections.json.
"""


# What `--set` could only change by half.
_FLAGS = {
    "task.dataset": "--data DIR",
    "task.validation_split": "--split NAME",
    "task.train_split": "--split NAME",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.epilog = EPILOG
    add = parser.add_argument
    add("--model", metavar="RUN", help="folder of a run, or a checkpoint prefix")
    add("--newest", action="store_true", help="the newest checkpoint, not the best")
    add("--data", metavar="DIR", help=DATA_HELP)
    add("--split", help="split to evaluate; default: the run's validation split")
    add("--detections", metavar="D.json", help="saved detections, instead of --model")
    add("--annotations", metavar="A.json", help="ground truth for --detections")
    add("--iou-type", choices=("bbox", "segm"),
        help="what of --detections to evaluate (default bbox)")  # fmt: skip
    add("--max-detections", type=int, help="per image and class (default 100)")
    add("--set", metavar="KEY=VALUE", action="append", default=[],
        help="override a setting of the run; repeatable")  # fmt: skip
    add("--out", metavar="DIR", help="write metrics and detections here")
    add("--json", action="store_true", help="print JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Evaluates; returns the exit code."""
    if bool(args.model) == bool(args.detections):
        raise UserError("give either --model or --detections with --annotations")
    _refuse_foreign_flags(args)
    evaluate = _evaluate_file if args.detections else _evaluate_model
    if args.out:
        written = ("metrics.json", "detections.json")
        require_writable(
            [args.out], replaced=[os.path.join(args.out, x) for x in written]
        )
    with kept_if_filled(args.out) if args.out else contextlib.nullcontext():
        values, tables = evaluate(args)
    print(json.dumps(values, indent=1) if args.json else "\n\n".join(tables))
    return 0


def _evaluate_file(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    from libra_tf.evaluation.coco import evaluate_detections
    from libra_tf.evaluation.metrics_table import format_table, to_json_dict
    from libra_tf.files.json_files import write_json
    from libra_tf.training.run_report import write_scalars

    if not args.annotations:
        raise UserError("--detections needs --annotations, the COCO ground truth")
    metrics = evaluate_detections(
        args.annotations,
        args.detections,
        iou_type=args.iou_type or "bbox",
        max_detections=args.max_detections or 100,
    )
    values = to_json_dict(metrics)
    if args.out:
        write_json(os.path.join(args.out, "metrics.json"), values, indent=1)
        known = {k: v for k, v in metrics.summary.items() if v is not None}
        write_scalars(args.out, 0, known)
    return values, [format_table(metrics)]


def _refuse_foreign_flags(args: argparse.Namespace) -> None:
    with_model = ("newest", "data", "split", "set")
    with_detections = ("annotations", "iou_type")
    foreign = with_model if args.detections else with_detections
    for name in foreign:
        if getattr(args, name):
            other = "--model" if args.detections else "--detections"
            raise UserError(f"--{name.replace('_', '-')} goes with {other} only")
    for text in args.set:
        key = text.partition("=")[0].strip()
        if key in _FLAGS:
            raise UserError(
                f"--set {text}: use {_FLAGS[key]}, by which its files follow"
            )
    if args.max_detections is not None and args.max_detections < 1:
        raise UserError(f"--max-detections is {args.max_detections}; give 1 or more")


def _evaluate_model(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    from libra_tf.evaluation.metrics_table import format_table, to_json_dict
    from libra_tf.experiments.saved import override, parse_override
    from libra_tf.files.json_files import write_json
    from libra_tf.training.evaluate import evaluate_checkpoint
    from libra_tf.training.run_report import write_scalars
    from libra_tf.weights.find_checkpoint import find_checkpoint
    from libra_tf.weights.restore import checkpoint_step

    found = find_checkpoint(args.model, newest=args.newest)
    _choose_data(found.params, args)
    for text in args.set:
        override(found.params, parse_override(text), f"--set {text}")
    if args.max_detections:
        found.params.task.max_num_eval_detections = args.max_detections
    flat, evaluator = evaluate_checkpoint(found.params, found.path)
    tables = [f"{found.path} on {found.params.task.annotation_file}"]
    tables += [format_table(m) for m in evaluator.last_metrics.values()]
    recall = {k: v for k, v in flat.items() if k.startswith("AR@")}
    if recall:
        rows = "  ".join(f"{k} {v:.4f}" for k, v in recall.items())
        tables.append(f"proposals: {rows}")
    values = {
        "checkpoint": found.path,
        "metrics": flat,
        **{k: to_json_dict(m) for k, m in evaluator.last_metrics.items()},
    }
    if args.out:
        write_json(os.path.join(args.out, "metrics.json"), values, indent=1)
        evaluator.save_detections(os.path.join(args.out, "detections.json"))
        write_scalars(args.out, checkpoint_step(found.path), flat)
        tables.append(f"written to {args.out}")
    return values, tables


def _choose_data(params: Any, args: argparse.Namespace) -> None:
    """Points the validation split elsewhere; its files follow from the data set."""
    from libra_tf.data.cached import converted

    task = params.task
    if not args.data and not args.split:
        return
    if args.data:
        task.dataset = converted(args.data)
    if not task.dataset:
        raise UserError("--split needs --data: the run was not trained on a data set")
    task.validation_split = args.split or task.validation_split
    # Nothing is trained, so the data set need not have what the run was trained on.
    task.train_split = task.validation_split
    task.validation_data.input_path = ""
    task.annotation_file = ""
