#!/usr/bin/env python3
"""What it costs that a step which is not finite changes no weight.

    scripts/benchmarks/guard.py --data cells_tfr
    scripts/benchmarks/guard.py --data cells_tfr --config bccd/libra_retinanet

Times training steps (forward, backward, update) of Model Garden's trainer and of ours
on the same few batches, by turns, in one process. Prints the median ratio, quartiles.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

from unittest import mock

from official.core import base_trainer

from libra_tf.ablation.step_time import build_steps, compare
from libra_tf.experiments.files import find_config
from libra_tf.experiments.saved import load_experiment
from libra_tf.training import trainer


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, help="a folder of `libra data convert`")
    add("--config", default="bccd/libra_fasterrcnn")
    add("--set", action="append", default=[], metavar="KEY=VALUE")
    add("--rounds", type=int, default=12)
    add("--steps", type=int, default=5, help="for the time of one step")
    args = parser.parse_args()
    overrides = [f"task.dataset={args.data}", *args.set]
    params = load_experiment(None, [find_config(args.config)], overrides)
    settings = params.as_dict()
    with mock.patch.object(trainer, "Trainer", base_trainer.Trainer):
        stock = build_steps(settings, args.steps)
    guarded = build_steps(settings, args.steps)
    load = os.getloadavg()[0]
    found = compare(stock, guarded, args.rounds, args.steps)
    print(json.dumps({"config": args.config, **found, "load_average": round(load, 2)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
