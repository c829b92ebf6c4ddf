#!/usr/bin/env python3
"""What the class losses of a one-stage detector cost beside focal loss.

    scripts/benchmarks/class_losses.py
    scripts/benchmarks/class_losses.py --size 1024 --classes 80 --positives 150

Times loss and gradient on the logits of one square image (levels 3 to 7, nine anchors
for each cell), each loss by turns with focal loss, in one process. Prints a line of
JSON for each: median milliseconds of focal loss (`baseline_ms`) and of the loss, and
the median ratio with quartiles.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import sys
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np
import tensorflow as tf

from libra_tf import losses
from libra_tf.ablation.step_time import compare

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def _ghm(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    found = losses.ghm_c(labels, logits, tf.ones_like(logits, tf.bool))
    return tf.reduce_sum(found.values) / found.total


LOSSES: dict[str, Loss] = {
    "average_precision": losses.average_precision,
    "average_precision_not_compiled": lambda labels, logits: losses.average_precision(
        labels, logits, jit_compile=False
    ),
    "distributional_ranking": losses.distributional_ranking,
    "ghm_c": _ghm,
}


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--size", type=int, default=512, help="pixels of a side (default %(default)s)")
    add("--classes", type=int, default=80, help="default %(default)s")
    add("--positives", type=int, default=150, help="default %(default)s")
    add("--spread", type=float, default=2.0, help="of the logits (default %(default)s)")
    add("--rounds", type=int, default=11, help="default %(default)s")
    args = parser.parse_args()
    labels, logits = _batch(args)
    focal = _step(lambda y, x: tf.reduce_sum(losses.focal(y, x)), labels)
    for name, loss in LOSSES.items():
        step = functools.partial(_step(loss, labels), logits)
        found = compare(functools.partial(focal, logits), step, args.rounds, 1)
        print(json.dumps({"loss": name, **found}), flush=True)
    return 0


def _batch(args: argparse.Namespace) -> tuple[tf.Tensor, tf.Tensor]:
    anchors = sum(math.ceil(args.size / 2**level) ** 2 for level in range(3, 8)) * 9
    rng = np.random.default_rng(0)
    labels = np.zeros([anchors, args.classes], np.float32)
    rows = rng.choice(anchors, args.positives, replace=False)
    labels[rows, rng.integers(args.classes, size=args.positives)] = 1.0
    logits = rng.normal(-4.6, args.spread, labels.shape)
    return tf.constant(labels), tf.constant(logits, tf.float32)


def _step(loss: Loss, labels: tf.Tensor) -> Callable[[tf.Tensor], object]:
    @tf.function
    def step(logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(labels, logits)
        return value, tape.gradient(value, logits)

    return step


if __name__ == "__main__":
    sys.exit(main())
