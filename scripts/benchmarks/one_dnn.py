#!/usr/bin/env python3
"""What oneDNN saves of the balanced feature pyramid on this CPU.

    scripts/benchmarks/one_dnn.py
    scripts/benchmarks/one_dnn.py --height 400 --width 672 --rounds 5

Times forward and backward passes, in fresh processes by turns with
TF_ENABLE_ONEDNN_OPTS=0 and 1. Prints a line of JSON for each refinement: median
milliseconds of both, and the median ratio with quartiles.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

REFINEMENTS = ("none", "conv", "non_local")


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--height", type=int, default=800, help="default %(default)s")
    add("--width", type=int, default=1344, help="default %(default)s")
    add("--channels", type=int, default=256, help="default %(default)s")
    add("--rounds", type=int, default=3, help="default %(default)s")
    add("--child", choices=REFINEMENTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(_milliseconds(args)))
        return 0
    for refine in REFINEMENTS:
        pairs = [(_run(refine, "0"), _run(refine, "1")) for _ in range(args.rounds)]
        ratios = [without / used for without, used in pairs]
        quartiles = statistics.quantiles(ratios, n=4, method="inclusive")
        row = {
            "refine": refine,
            "without_milliseconds": round(statistics.median(a for a, _ in pairs)),
            "with_milliseconds": round(statistics.median(b for _, b in pairs)),
            "ratio": round(quartiles[1], 2),
            "quartiles": [round(quartiles[0], 2), round(quartiles[2], 2)],
        }
        print(json.dumps(row), flush=True)
    return 0


def _run(refine: str, one_dnn: str) -> float:
    done = subprocess.run(
        [sys.executable, *sys.argv, "--child", refine],
        env={
            **os.environ,
            "TF_ENABLE_ONEDNN_OPTS": one_dnn,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TF_USE_LEGACY_KERAS": "1",
        },
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def _milliseconds(args: argparse.Namespace) -> float:
    """Median of five passes, after one."""
    import tensorflow as tf

    from libra_tf.layers import BalancedFeaturePyramid

    pyramid = BalancedFeaturePyramid(
        refine=None if args.child == "none" else args.child, refine_level=4
    )
    levels = {
        str(k): tf.random.normal(
            [1, -(args.height // -(2**k)), -(args.width // -(2**k)), args.channels]
        )
        for k in range(2, 6)
    }

    @tf.function
    def step() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(levels)
            loss = tf.add_n([tf.reduce_sum(x**2) for x in pyramid(levels).values()])
        return tape.gradient(loss, [levels, pyramid.trainable_variables])

    step()
    found = []
    for _ in range(5):
        start = time.perf_counter()
        step()
        found.append(1e3 * (time.perf_counter() - start))
    return statistics.median(found)


if __name__ == "__main__":
    sys.exit(main())
