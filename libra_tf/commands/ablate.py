"""`libra ablate`: all rows of a table, over seeds, with statistics."""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
from typing import Any, TextIO

from libra_tf.ablation.plan import SCALES
from libra_tf.commands.verbs import DATA_HELP
from libra_tf.errors import UserError

_MOST_SEEDS = 1000
EPILOG = """\
examples:
  libra ablate --list
  libra ablate libra_table2 --data bccd_tfr --scale two_core --seeds 5 --jobs 2 \\
      --out ablations/table2
  libra ablate libra_table2 --data coco_tfr --seeds 1 --out ablations/coco \\
      --set runtime.num_gpus=8

Each row and seed is one `libra train` in OUT/runs/ROW/seedN. The same command again
goes on where it was stopped, and tries again what failed. After every run, OUT gets
results.csv (one line per run) and table.md (means over seeds, paired differences to
the baseline, published numbers).

Tables share rows: --reuse ablations/table2 takes over what was trained there with the
same settings and seed. When nothing else runs on the machine, the same command with
--timing measures the step time of each row beside its baseline, for the table; with
--measure, `libra measure` looks at the finished runs, for the table too.
"""
_STEPS = 5  # of a turn of --timing
SET_HELP = "override one setting in all rows, as in `libra train`; repeatable"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.epilog = EPILOG
    add = parser.add_argument
    add("plan", metavar="PLAN", nargs="?", help="YAML file, or a name of --list")
    add("--list", action="store_true", help="show the plans that are shipped")
    add("--data", metavar="DIR", help=DATA_HELP)
    add("--seeds", default="1", metavar="N",
        help="seeds 1 to N, or a list as 1,2,5 (default 1)")  # fmt: skip
    add("--out", metavar="DIR", help="runs, results.csv and table.md")
    add("--scale", choices=SCALES, default="coco",
        help="rows as they are, or small, for two cores (default coco)")  # fmt: skip
    # The former name of --scale.
    add("--form", dest="scale", choices=SCALES, default=argparse.SUPPRESS,
        help=argparse.SUPPRESS)  # fmt: skip
    add("--rows", metavar="A,B", help="only these rows")
    add("--jobs", type=int, default=1, metavar="J",
        help="runs at a time, which share the cores (default 1)")  # fmt: skip
    add("--set", metavar="KEY=VALUE", action="append", default=[], help=SET_HELP)
    add("--reuse", metavar="DIR", action="append", default=[],
        help="take runs of equal settings from there; repeatable")  # fmt: skip
    add("--timing", action="store_true",
        help="measure step times, each row by turns with its baseline")  # fmt: skip
    add("--rounds", type=int, default=10, metavar="N",
        help="turns of --timing (default 10)")  # fmt: skip
    add("--measure", action="store_true",
        help="measure samplers, gradients and pyramids of finished runs")  # fmt: skip
    add("--images", type=int, default=100, metavar="N",
        help="training images of --measure (default 100)")  # fmt: skip
    add("--force", action="store_true",
        help="make runs again that were made with other settings")  # fmt: skip
    add("--dry-run", action="store_true", help="show the commands, run nothing")
    add("--json", action="store_true", help="print JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs an ablation; returns the exit code."""
    if args.list:
        return _list(args)
    from libra_tf.ablation.plan_reader import load_plan
    from libra_tf.ablation.runs import build_runs, check_settings
    from libra_tf.data.cached import converted
    from libra_tf.files.atomic import make_folder
    from libra_tf.files.lock import locked_run

    _check(args)
    if not args.dry_run:
        args.data = converted(args.data)
    plan = load_plan(args.plan)
    names = None if args.rows is None else args.rows.split(",")
    rows = plan.choose(None if names is None else [name.strip() for name in names])
    build = functools.partial(
        build_runs,
        plan,
        scale=args.scale,
        data=os.path.abspath(args.data),
        out=args.out,
        overrides=args.set,
    )
    if args.timing and args.measure:
        raise UserError("give --timing or --measure, one after the other")
    runs = build(rows, parse_seeds(args.seeds))
    if args.dry_run:
        return _show(runs, args.json)
    stream = sys.stderr if args.json else sys.stdout
    make_folder(args.out)
    with locked_run(args.out):
        if args.timing:
            compared = {row.name for row in rows} | {row.baseline for row in rows}
            chosen = [row for row in plan.rows if row.name in compared]
            failed = _time(plan, rows, build(chosen, [1]), args, stream)
        elif args.measure:
            check_settings(runs, force=False)
            failed = _measure(runs, args, stream)
        else:
            check_settings(runs, args.force)
            failed = _train(plan, runs, args, stream)
        return _tell(plan, failed, args)


def _check(args: argparse.Namespace) -> None:
    for name in ("plan", "data", "out"):
        if not getattr(args, name):
            raise UserError(f"give {'PLAN' if name == 'plan' else f'--{name}'}")
    for name in ("jobs", "rounds", "images"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name} is {getattr(args, name)}; give 1 or more")


def _train(plan: Any, runs: list[Any], args: Any, stream: TextIO) -> list[dict]:
    from libra_tf.ablation.execute import execute
    from libra_tf.ablation.reuse import reuse

    for one in reuse(plan, args.scale, runs, args.reuse):
        print(f"{one.name}: reused, settings and seed are equal", file=stream)
    return _entries(
        execute(plan, args.scale, runs, args.out, jobs=args.jobs, stream=stream)
    )


def _time(
    plan: Any, rows: tuple[Any, ...], runs: list[Any], args: Any, stream: TextIO
) -> list[dict]:
    from libra_tf.ablation.timing import measure

    failed = measure(
        plan, rows, runs, args.out, rounds=args.rounds, steps=_STEPS, stream=stream
    )
    log = os.path.join(args.out, "timing")
    return [{"row": name, "error": reason, "log": log} for name, reason in failed]


def _measure(runs: list[Any], args: Any, stream: TextIO) -> list[dict]:
    from libra_tf.ablation import mechanism

    return _entries(
        mechanism.measure(runs, images=args.images, jobs=args.jobs, stream=stream)
    )


def _entries(failed: list[tuple[Any, str]]) -> list[dict]:
    return [
        {"row": one.row, "seed": one.seed, "error": reason, "log": one.folder}
        for one, reason in failed
    ]


def _tell(plan: Any, failed: list[dict], args: argparse.Namespace) -> int:
    from libra_tf.ablation.execute import publish
    from libra_tf.ablation.timing import read_timing

    found = publish(plan, args.scale, args.out)
    if args.json:
        content = {"results": found, "timing": read_timing(args.out), "failed": failed}
        print(json.dumps(content, indent=1))
    else:
        print(f"written to {args.out}: results.csv, table.md")
    for entry in failed:
        seed = f" seed {entry['seed']}" if "seed" in entry else ""
        print(
            f"libra: {entry['row']}{seed} failed: {entry['error']}; its log is in "
            f"{entry['log']}",
            file=sys.stderr,
        )
    return 1 if failed else 0


def parse_seeds(text: str) -> list[int]:
    """Returns 1 to N for "N", and the numbers of a list "1,2,5"."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"--seeds {text}: give a number N, or a list") from error
    if "," in text:
        if len(set(numbers)) < len(numbers) or min(numbers) < 0:
            raise UserError(f"--seeds {text}: give different numbers from 0 on")
        return numbers
    if not 1 <= numbers[0] <= _MOST_SEEDS:
        raise UserError(f"--seeds {text}: give a number from 1 to {_MOST_SEEDS}")
    return list(range(1, numbers[0] + 1))


def _list(args: argparse.Namespace) -> int:
    from libra_tf.ablation.plan_reader import load_plan
    from libra_tf.experiments.files import plan_files

    plans = [load_plan(path) for path in plan_files().values()]
    if args.json:
        content: dict[str, Any] = {
            p.name: {"title": p.title, "path": p.path, "rows": [r.name for r in p.rows]}
            for p in plans
        }
        print(json.dumps(content, indent=1))
        return 0
    for plan in plans:
        print(f"{plan.name}: {plan.title}")
        for row in plan.rows:
            against = f"against {row.baseline}" if row.baseline else "baseline"
            print(f"  {row.name} ({against})")
    return 0


def _show(runs: list[Any], as_json: bool) -> int:
    states = [
        "finished" if run.result else "to resume" if run.started else "to run"
        for run in runs
    ]
    if as_json:
        entries = [
            {"row": r.row, "seed": r.seed, "state": s, "command": r.command}
            for r, s in zip(runs, states, strict=True)
        ]
        print(json.dumps(entries, indent=1))
        return 0
    for one, state in zip(runs, states, strict=True):
        print(f"# {one.name}: {state}\n{one.command}")
    return 0
