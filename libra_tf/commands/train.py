"""`libra train`: the train binary with shorter flags."""

from __future__ import annotations

import argparse
import json

from libra_tf.commands.verbs import DATA_HELP

EPILOG = """\
example:
  libra train --config quickstart/libra_fasterrcnn --data shapes_tfr --out runs/first
  libra train --experiment libra_retinanet_resnetfpn_coco --data coco_tfr \\
      --out runs/coco --set runtime.num_gpus=8

  libra train --init runs/first --data other_tfr --out runs/second

Running it again with the same --out resumes. `python -m libra_tf.train` takes the
same settings with Model Garden's flags.
"""

MODES = ("train", "eval", "train_and_eval", "continuous_eval")
CONFIG_HELP = "YAML file, or a name that `libra config list` shows; repeatable"
INIT_HELP = (
    "start from the weights of a run (its best checkpoint) or a checkpoint, also for "
    "other classes: those of the same name keep theirs. Without --config and "
    "--experiment, the experiment is that of the run. A .pth file sets the backbone"
)
SET_HELP = "override one setting, such as trainer.train_steps=100; repeatable"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.epilog = EPILOG
    add = parser.add_argument
    add("--config", metavar="FILE", action="append", default=[], help=CONFIG_HELP)
    add("--experiment", help="name; default: the `experiment` key of the config")
    add("--data", metavar="DIR", help=DATA_HELP)
    add("--out", metavar="DIR", required=True, help="checkpoints, metrics, events")
    add("--init", metavar="RUN", help=INIT_HELP)
    add("--mode", choices=MODES, default="train_and_eval")
    add("--set", metavar="KEY=VALUE", action="append", default=[], help=SET_HELP)
    add("--seed", type=int, help="same as --set trainer.seed=N")
    add("--json", action="store_true", help="print the last metrics as JSON")


def run(args: argparse.Namespace) -> int:
    """Trains; returns the exit code."""
    import sys

    from libra_tf.data.cached import converted
    from libra_tf.experiments.files import find_config
    from libra_tf.experiments.saved import apply_overrides, load_experiment, override
    from libra_tf.training.runner import run as run_experiment
    from libra_tf.weights.start import experiment_of, start_from

    if args.init and not (args.config or args.experiment):
        params = experiment_of(args.init)
    else:
        files = [find_config(name) for name in args.config]
        params = load_experiment(args.experiment, files)
    if args.init:
        start_from(params, args.init)
    apply_overrides(params, args.set)
    if args.data:
        override(params, {"task": {"dataset": converted(args.data)}}, "--data")
    if args.seed is not None:
        override(params, {"trainer": {"seed": args.seed}}, "--seed")
    stream = sys.stderr if args.json else sys.stdout
    metrics = run_experiment(params, args.mode, args.out, stream=stream)
    if args.json:
        print(json.dumps(metrics, indent=1))
    return 0
