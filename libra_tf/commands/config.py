"""`libra config`: list, show, check and explain experiment files and settings."""

from __future__ import annotations

import argparse
import copy
import json
import sys
from pathlib import Path
from typing import Any

from libra_tf.commands.verbs import DATA_HELP, add_verb
from libra_tf.errors import UserError

LIST = """\
Lists the experiments, and the files that come with the package: each opens with what
it is, the number to expect, the hardware and the command.

example:
  libra config list
"""
SHOW = """\
Prints every setting as YAML: the experiment's, then the files', then --set, each over
the former. With a data set, also what follows from it. With FIELD, a setting or a
section, prints its value, meaning, range, default and source instead.

examples:
  libra config show task.losses.box.beta
  libra config show task.model.roi_sampler --config survey/fasterrcnn_ohem
  libra config show --config quickstart/libra_fasterrcnn --data shapes_tfr
  libra config show --experiment libra_retinanet_resnetfpn_coco \\
      --set task.model.neck.type=none
"""
CHECK = """\
Reads each file and looks for unknown settings, wrong values and contradictions. What
only the data set knows (classes, record files) is not checked without --data.
One line per file; the exit code is 0 only if all are good.

examples:
  libra config check mine.yaml
  libra config check quickstart/libra_fasterrcnn --data shapes_tfr
"""
DOCS = """\
Writes the page of all settings that this package adds to Model Garden's, in Markdown:
to the screen, or to a file.

example:
  libra config docs --out docs/settings.md
"""
# Stands for what the data set would give: the background and one class.
ANY_CLASSES, ANY_RECORDS = 2, "*.tfrecord"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-verbs."""
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = add_verb(verbs, "list", "experiments and shipped files", LIST)
    listing.add_argument("--json", action="store_true", help="print JSON on stdout")
    show = add_verb(verbs, "show", "print all settings", SHOW)
    show.add_argument("fields", metavar="FIELD", nargs="*", help="explain these only")
    show.add_argument(
        "--diff",
        action="store_true",
        help="only what differs from the registered experiment, which is behind #",
    )
    show.add_argument("--experiment", metavar="NAME", help="default: the files' own")
    show.add_argument(
        "--config",
        metavar="FILE",
        action="append",
        default=[],
        help="file, or name of a shipped one; may be given again",
    )
    show.add_argument(
        "--set",
        metavar="A.B=C",
        action="append",
        default=[],
        help="one setting; may be given again",
    )
    check = add_verb(verbs, "check", "find mistakes in files", CHECK)
    check.add_argument("files", metavar="FILE", nargs="+", help="file or shipped name")
    docs = add_verb(verbs, "docs", "write the page of all settings", DOCS)
    docs.add_argument("--out", metavar="FILE", help="default: the screen")
    for sub in (show, check):
        sub.add_argument("--data", metavar="DIR", help=DATA_HELP)


def run(args: argparse.Namespace) -> int:
    """Runs the chosen sub-verb."""
    if getattr(args, "data", None):
        from libra_tf.data.cached import converted  # reads pictures: not to list files

        args.data = converted(args.data)
    verbs = {"list": _list, "show": _show, "check": _check, "docs": _docs}
    return verbs[args.action](args)


def _list(args: argparse.Namespace) -> int:
    from libra_tf.experiments.files import config_files, read_head

    experiments = _experiments()
    files = config_files()
    heads = {name: read_head(path) for name, path in files.items()}
    if args.json:
        entries = {n: {"path": files[n], "head": head} for n, head in heads.items()}
        content = {"experiments": experiments, "files": entries}
        print(json.dumps(content, indent=1), file=sys.stdout)
        return 0
    for title, rows in (("experiments", experiments), ("files", heads)):
        print(f"{title}:", file=sys.stdout)
        width = max(map(len, rows), default=0)
        for name, text in rows.items():
            print(f"  {name:{width}}  {text}".rstrip(), file=sys.stdout)
    return 0


def _experiments() -> dict[str, str]:
    """Returns what each experiment is, by name."""
    from official.core import exp_factory

    from libra_tf.experiments import NAMES

    factories = exp_factory._REGISTERED_CONFIGS
    return {name: (factories[name].__doc__ or "").split("\n")[0] for name in NAMES}


def _show(args: argparse.Namespace) -> int:
    from libra_tf.experiments.saved import dump_params
    from libra_tf.experiments.stock import is_libra_experiment

    if args.fields:
        return _explain(args)
    params = _load(args.experiment, args.config, args.set, args.data)
    # Experiments of Model Garden itself are shown as they are.
    if is_libra_experiment(params):
        _check_whole(params, args.data)
    if args.diff:
        for line in _differences(params):
            print(line, file=sys.stdout)
        return 0
    print(dump_params(params), end="", file=sys.stdout)
    return 0


def _differences(params: Any) -> list[str]:
    """What an experiment sets otherwise than it is registered, a setting a line."""
    from libra_tf.experiments.saved import flat_settings, get_experiment

    own, registered = flat_settings(params.as_dict()), {}
    if getattr(params, "experiment", None):
        registered = flat_settings(get_experiment(params.experiment).as_dict())
    return [
        f"{key}: {json.dumps(value)}  # {json.dumps(registered.get(key))}"
        for key, value in own.items()
        if value != registered.get(key)
    ]


def _explain(args: argparse.Namespace) -> int:
    """Prints the documentation of fields; of any detector that has them."""
    from libra_tf.experiments import NAMES
    from libra_tf.experiments.field_docs import explain

    chosen = args.experiment or args.config
    experiments, lacking, wrong = [], [], []
    for name in [args.experiment] if chosen else NAMES:
        try:
            params = _load(name, args.config, args.set, args.data)
        except UserError as error:  # Of a detector without a setting of `--set`.
            lacking.append(error)
            continue
        try:
            _check_fields(params)
        except UserError as error:
            wrong.append(error)
        else:
            experiments.append(params)
    if not experiments:
        raise (wrong + lacking)[0]
    for path in args.fields:
        found = next(filter(None, (explain(p, path) for p in experiments)), [])
        if not found:
            raise UserError(f"there is no setting {path}; see: libra config show")
        print(*found, sep="\n", file=sys.stdout)
    return 0


def _docs(args: argparse.Namespace) -> int:
    from libra_tf.experiments.field_docs import page
    from libra_tf.files.atomic import make_folder, write_text

    if args.out:
        path = Path(args.out)
        make_folder(path.parent)
        write_text(path, [page()])
    else:
        print(page(), end="", file=sys.stdout)
    return 0


def _check(args: argparse.Namespace) -> int:
    failed = 0
    for file in args.files:
        lost: list[str] = []
        try:
            name, lost = _check_one(file, args.data)
        except UserError as error:
            failed += 1
            text = str(error)
            line = text if text.startswith(file) else f"{file}: {text}"
        else:
            line = f"{file}: good ({name})"
        for text in (line, *(f"  {each}" for each in lost)):
            print(text, file=sys.stdout, flush=True)
    return 1 if failed else 0


def _check_one(file: str, data: str | None) -> tuple[str, list[str]]:
    """Returns the experiment of a file that is good and what its limits cost.

    Raises `UserError` for one that is not. Costs are counted on a data set only.
    """
    from libra_tf.experiments.lost_objects import lost_objects
    from libra_tf.experiments.stock import is_libra_experiment

    params = _load(None, [file], [], data)
    if not is_libra_experiment(params):
        params.validate()
        return type(params.task).__name__, []
    _check_whole(params, data)
    named = _names_dataset(params, data)
    return params.experiment, lost_objects(params.task) if named else []


def _load(
    experiment: str | None, files: list[str], overrides: list[str], data: str | None
) -> Any:
    from libra_tf.experiments.files import find_config
    from libra_tf.experiments.saved import load_experiment, override

    params = load_experiment(experiment, [find_config(f) for f in files], overrides)
    if data is not None:
        override(params, {"task": {"dataset": data}}, "--data")
    return params


def _check_fields(params: Any) -> None:
    """Checks each setting; those of Model Garden's own experiments are its own."""
    from libra_tf.experiments.fields import check_fields
    from libra_tf.experiments.stock import is_libra_experiment

    if is_libra_experiment(params):
        check_fields(params)


def _check_whole(params: Any, data: str | None) -> None:
    """Checks an experiment of ours; fills in what follows from a data set it names."""
    from libra_tf.experiments.resolve import resolve

    _check_fields(params)  # First: what is read here may be no section.
    resolve(params if _names_dataset(params, data) else _with_stand_in(params))


def _names_dataset(params: Any, data: str | None) -> bool:
    """Whether somebody named a data set; the experiments' own "coco" is an example."""
    from libra_tf.experiments.saved import get_experiment

    own = get_experiment(params.experiment).task.dataset
    return data is not None or params.task.dataset not in ("", own)


def _with_stand_in(params: Any) -> Any:
    """A copy that names records and classes, as settings without a data set do not."""
    params = copy.deepcopy(params)
    task = params.task
    task.dataset = ""
    task.model.num_classes = task.model.num_classes or ANY_CLASSES
    for data in (task.train_data, task.validation_data):
        data.input_path = data.input_path or ANY_RECORDS
    return params
