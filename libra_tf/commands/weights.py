"""`libra weights`: published PyTorch detectors, in TensorFlow."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from typing import Any

from libra_tf.commands.verbs import add_verb
from libra_tf.errors import UserError

IMPORT = """\
Reads a checkpoint of mmdetection's Libra Faster R-CNN or Libra RetinaNet, of any depth,
width and number of classes, and writes a folder that eval, predict, export and train
take as a run. The file's tensors are read; nothing in it is executed.

examples:
  libra weights import libra_faster_rcnn_r50_fpn_1x_coco_20200130-3afee3a9.pth \\
      --out libra_r50
  libra weights import cells.pth --out cells --class-names cells/classes.txt

--class-names takes a text file with one name a line, or JSON with `categories`, such as
the annotation file of the training. Without it, 80 classes are COCO's, with COCO's ids.
Moving averages that the file has beside the weights are counted and left out; --ema
takes them instead.
Thresholds and the size of images are mmdetection's, and settings of the folder:
  --set task.model.canvas.short_side=600 --set task.model.canvas.long_side=1000
"""
SHOW = """\
Lists the tensors of a PyTorch checkpoint, and the detector that their shapes tell.

example:
  libra weights show libra_faster_rcnn_r50_fpn_1x_coco_20200130-3afee3a9.pth
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-verbs."""
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    importing = add_verb(verbs, "import", "PyTorch checkpoint to run folder", IMPORT)
    add = importing.add_argument
    add("file", metavar="FILE.pth", help="checkpoint of mmdetection")
    add("--out", metavar="DIR", help="folder to write; not with --dry-run")
    add("--class-names", metavar="FILE", help="names of the classes")
    add("--set", metavar="KEY=VALUE", action="append", default=[],
        help="override a setting of the experiment; repeatable")  # fmt: skip
    add("--ema", action="store_true",
        help="take the moving averages of the weights that the file has")  # fmt: skip
    add("--force", action="store_true", help="replace an earlier import in --out")
    add("--dry-run", action="store_true",
        help="tell which weight goes where, and write nothing")  # fmt: skip
    add("--json", action="store_true", help="print JSON on stdout")
    show = add_verb(verbs, "show", "tensors and architecture of a checkpoint", SHOW)
    show.add_argument("file", metavar="FILE.pth", help="PyTorch checkpoint")
    show.add_argument("--json", action="store_true", help="print JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs the chosen sub-verb."""
    return {"import": _import, "show": _show}[args.action](args)


def _import(args: argparse.Namespace) -> int:
    if bool(args.out) == args.dry_run:
        raise UserError("give either --out DIR or --dry-run")
    from libra_tf.weights.published_detector import read_published
    from libra_tf.weights.weight_matching import MismatchError

    try:
        published = read_published(args.file, args.class_names, args.set, ema=args.ema)
        return (_table if args.dry_run else _write)(args, published)
    except MismatchError as error:
        for line in error.lines:
            print(line, file=sys.stderr)
        raise


def _write(args: argparse.Namespace, published: Any) -> int:
    from libra_tf.weights.importer import import_weights

    record = import_weights(published, args.out, force=args.force)
    if args.json:
        print(json.dumps(record | {"model": args.out}, indent=1))
        return 0
    _tell_averages(published.averages)
    print(
        f"{published.architecture}\n{record['num_tensors']} tensors, "
        f"{record['num_parameters']} numbers -> {args.out}\n"
        f"next: libra predict IMAGES --model {args.out} --out predictions"
    )
    return 0


def _table(args: argparse.Namespace, published: Any) -> int:
    """Prints which weight goes where."""
    from libra_tf.weights.importer import build_detector, match_detector

    matches = match_detector(published, build_detector(published))
    rows = [
        {
            "name": match.name,
            "shape": list(match.shape),
            "variable": match.slot.variable.name,
            "variable_shape": match.slot.variable.shape.as_list(),
        }
        for match in matches
    ]
    if args.json:
        print(json.dumps(rows, indent=1))
        return 0
    _tell_averages(published.averages)
    print(published.architecture)
    for row in rows:
        print(
            f"{row['name']} {_size(row['shape'])} -> {row['variable']} "
            f"{_size(row['variable_shape'])}"
        )
    return 0


def _show(args: argparse.Namespace) -> int:
    import dataclasses

    from libra_tf.torch_files.state_dict import read_state_dict
    from libra_tf.weights.averages import choose_averages
    from libra_tf.weights.published_detector import read_architecture

    state = read_state_dict(args.file)
    weights, averages = choose_averages(state, ema=False)
    try:
        architecture, reason = read_architecture(weights)[0], None
    except UserError as error:
        architecture, reason = None, str(error)
    tensors = {
        name: {"shape": list(tensor.shape), "type": tensor.type_name}
        for name, tensor in state.tensors.items()
    }
    if args.json:
        told = architecture and dataclasses.asdict(architecture)
        content = {"tensors": tensors, "architecture": told, "not_libra": reason}
        print(json.dumps(content | {"num_averages": averages.count}, indent=1))
        return 0
    width = max(map(len, tensors))
    for name, tensor in tensors.items():
        print(f"{name:{width}}  {tensor['type']}  {_size(tensor['shape'])}")
    numbers = sum(tensor.size for tensor in state.tensors.values())
    print(f"{len(tensors)} tensors, {numbers} numbers")
    _tell_averages(averages)
    print(architecture or reason)
    return 0


def _tell_averages(averages: Any) -> None:
    if averages.count:
        print(averages)


def _size(shape: Iterable[object]) -> str:
    return "x".join(map(str, shape)) or "scalar"
