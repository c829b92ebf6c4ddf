#!/usr/bin/env python3
"""What TensorBoard's page of the imbalance costs.

    scripts/benchmarks/imbalance_page.py --data cells_tfr
    scripts/benchmarks/imbalance_page.py --data cells_tfr --config bccd/libra_retinanet

Times a training step and a look by turns, on the same few batches, in one process;
prints the median time of both, the median over the rounds of look / step with its
quartiles, and that ratio per cent of `trainer.imbalance_interval` steps. Start it a few
times: each is a process of its own.

A step here has no place to keep a batch; that it is asked for one costs nothing that
can be measured (`--watch` times steps with and without by turns).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

from unittest import mock

import tensorflow as tf

from libra_tf.ablation.step_time import build_steps, compare
from libra_tf.experiments.files import find_config
from libra_tf.experiments.saved import load_experiment
from libra_tf.training import trainer
from libra_tf.training.batch_watch import BatchWatch
from libra_tf.training.imbalance_page import ImbalancePage


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
    add("--steps", type=int, default=3, help="for the time of one step")
    add("--watch", action="store_true", help="steps with and without a watch instead")
    args = parser.parse_args()
    overrides = [f"task.dataset={args.data}", *args.set]
    params = load_experiment(None, [find_config(args.config)], overrides)
    load = os.getloadavg()[0]
    time_it = compare_watch if args.watch else compare_look
    found = time_it(params, args.rounds, args.steps)
    print(json.dumps({"config": args.config, **found, "load_average": round(load, 2)}))
    return 0


def built(params, steps: int, watch: BatchWatch | None) -> tuple[Callable, list]:
    """A function that runs training steps, and the trainer that does it."""
    made = []

    class Seen(trainer.Trainer):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.watch = watch
            made.append(self)

    with mock.patch.object(trainer, "Trainer", Seen):
        return build_steps(params.as_dict(), steps), made


def compare_look(params, rounds: int, steps: int) -> dict[str, float]:
    """Times of a step and of a look."""
    train, made = built(params, steps, None)
    page = ImbalancePage(made[0], params, None)
    made[0].watch = None
    batch = tf.nest.map_structure(
        lambda x: x.numpy(), next(iter(made[0].train_dataset))
    )
    begin = time.perf_counter()
    page.look({0: batch}, 0)
    first = time.perf_counter() - begin

    def look() -> None:
        for _ in range(steps):
            page.look({0: batch}, 0)

    found = compare(train, look, rounds, steps)
    interval = params.trainer.imbalance_interval
    return {
        **found,
        "first_look_seconds": round(first, 1),
        "percent_of_training": round(100 * found["ratio"] / interval, 3),
    }


def compare_watch(params, rounds: int, steps: int) -> dict[str, float]:
    """Times of steps without and with a watch that is never due."""
    without, _ = built(params, steps, None)
    with_one, _ = built(params, steps, BatchWatch(10**9, 10**9))
    return compare(without, with_one, rounds, steps)


if __name__ == "__main__":
    sys.exit(main())
