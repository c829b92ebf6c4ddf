#!/usr/bin/env python3
"""Kills a training again and again, and sees that nothing of it is lost.

    scripts/soak.py --kills 30 --out soak

trains a small RetinaNet on drawn shapes twice: once as it is, and once with kill -9 at
random moments, every second of them while a checkpoint is being written. Both runs are
deterministic. Then the killed one must have the same losses at each step, none twice,
also for TensorBoard, the same weights to the last bit, and the same files. Prints a
line for each kill; exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

STEPS, INTERVAL = 200, 10
SETTINGS = {
    "runtime.deterministic": "true",
    "task.model.input_size": "[64,64,3]",
    "task.model.backbone.resnet.depth_multiplier": "0.25",
    "task.model.decoder.fpn.num_filters": "16",
    "task.model.head.num_filters": "16",
    "task.train_data.global_batch_size": "2",
    "trainer.seed": "1",
    "trainer.train_steps": str(STEPS),
    "trainer.steps_per_loop": "5",
    "trainer.summary_interval": "5",
    "trainer.checkpoint_interval": str(INTERVAL),
    "trainer.validation_interval": "50",
}
CONFIG = "bccd/libra_retinanet"


def libra(*words: object, log: Path | None = None) -> None:
    """Runs a command in this process, which ends with it."""
    from libra_tf.commands.main import main

    os.setsid()
    if log:
        with open(log, "a", encoding="utf-8") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    os._exit(main([str(word) for word in words]))


def start(*words: object, log: Path | None = None) -> multiprocessing.Process:
    """Starts a command in a fork, which need not import TensorFlow again."""
    process = multiprocessing.get_context("fork").Process(
        target=libra, args=words, kwargs={"log": log}
    )
    process.start()
    return process


def training(data: Path, out: Path) -> multiprocessing.Process:
    """Starts or continues the training of a folder."""
    words = ["train", "--config", CONFIG, "--data", data, "--out", out]
    for key, value in SETTINGS.items():
        words += ["--set", f"{key}={value}"]
    return start(*words, log=out.with_suffix(".log"))


def finish(process: multiprocessing.Process, what: str) -> None:
    """Waits for a command, which has to succeed."""
    process.join()
    if process.exitcode:
        sys.exit(f"{what} ended with exit code {process.exitcode}")


def newest(folder: Path) -> int:
    """Step of the newest checkpoint."""
    steps = [int(p.name[5:-6]) for p in folder.glob("ckpt-*.index")]
    return max(steps, default=0)


def kill_in_a_save(process: multiprocessing.Process, out: Path, saves: int) -> bool:
    """Kills while a checkpoint is written, after some others; False if it ended."""
    seen: set[Path] = set()
    while process.is_alive():
        now = set(out.glob("ckpt-*_temp"))
        if now - seen:
            seen |= now
            if len(seen) > saves:
                os.kill(process.pid, signal.SIGKILL)
                return True
        time.sleep(0.0005)
    return False


def kill_at_random(process: multiprocessing.Process, seconds: float) -> bool:
    """Kills after a time; False if it ended before."""
    process.join(timeout=seconds)
    if not process.is_alive():
        return False
    os.kill(process.pid, signal.SIGKILL)
    return True


def kill_often(
    data: Path, out: Path, kills: int, draw: random.Random
) -> tuple[int, int]:
    """Trains with kills; returns how many there were, and how many hit a save."""
    made = in_saves = 0
    for number in range(1, kills + 1):
        process, began = training(data, out), time.monotonic()
        if number % 2:
            killed = kill_in_a_save(process, out, draw.randint(0, 1))
        else:
            killed = kill_at_random(process, draw.uniform(1, 40))
        process.join()
        if not killed:
            if process.exitcode:
                sys.exit(f"restart {number} ended with {process.exitcode}; see the log")
            break
        made += 1
        hit = bool(list(out.glob("*_temp")) or list(out.glob("*/*_temp")))
        in_saves += hit
        print(
            f"kill {number} after {time.monotonic() - began:.0f} s"
            f"{', in a save' if hit else ''}; newest checkpoint {newest(out)}",
            flush=True,
        )
    finish(training(data, out), "the last restart")
    return made, in_saves


def losses(folder: Path) -> list[dict]:
    """What each interval gave, without times."""
    from libra_tf.training.metrics_file import metric_lines

    found = list(metric_lines(str(folder)))
    for line in found:
        line.pop("examples_per_second", None)
        line.pop("seconds", None)
    return found


def weights(folder: Path) -> dict[str, np.ndarray]:
    """All of the newest checkpoint, slots too, but the count of saves."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(folder))
    names = reader.get_variable_to_shape_map()
    kept = (n for n in names if not n.startswith(("save_counter", "_CHECKPOINTABLE")))
    return {name: reader.get_tensor(name) for name in kept}


def events(folder: Path) -> dict[str, list[int]]:
    """Steps of each tag of TensorBoard but the speed, in the order of reading."""
    from tensorflow.compat.v1.train import summary_iterator

    found: dict[str, list[int]] = {}
    for path in sorted(folder.rglob("events.*")):
        for event in summary_iterator(str(path)):
            for value in event.summary.value:
                # Speed is not told of a first loop; settings come with each begin.
                if value.tag.startswith(("speed/", "settings", "_hparams_", "custom_")):
                    continue
                tag = f"{path.parent.relative_to(folder)}: {value.tag}"
                found.setdefault(tag, []).append(event.step)
    return found


def files(folder: Path) -> set[str]:
    """Names below a folder; of event files only where they lie."""
    paths = (p for p in folder.rglob("*") if p.is_file())
    return {
        str((p.parent if p.name.startswith("events.") else p).relative_to(folder))
        for p in paths
    }


def differences(whole: Path, killed: Path) -> list[str]:
    """What is not as in the run without kills."""
    found = []
    if losses(killed) != losses(whole):
        found.append("metrics.jsonl differs")
    first, second = events(whole), events(killed)
    other = [tag for tag in first | second if first.get(tag) != second.get(tag)]
    if other:
        found.append(f"TensorBoard has other steps of {other}")
    first, second = weights(whole), weights(killed)
    if first.keys() != second.keys():
        found.append("other variables")
    elif not all(np.array_equal(first[n], second[n]) for n in first):
        found.append("weights differ")
    if files(whole) != files(killed):
        found.append(f"other files: {sorted(files(whole) ^ files(killed))}")
    return found


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    import libra_tf.training.runner  # noqa: F401  (once for all forks)

    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    shapes, data = out / "shapes", out / "tfrecords"
    size = ["--train", 24, "--val", 4, "--size", 64]
    finish(start("data", "synthesize", shapes, *size), "synthesize")
    finish(start("data", "convert", shapes, "--out", data), "convert")
    began = time.monotonic()
    finish(training(data, out / "whole"), "the training without kills")
    print(f"without kills: {time.monotonic() - began:.0f} s", flush=True)
    made, in_saves = kill_often(
        data, out / "killed", args.kills, random.Random(args.seed)
    )
    found = differences(out / "whole", out / "killed")
    print(
        f"{made} kills, {in_saves} of them in a save: "
        + ("; ".join(found) or "same losses, events, weights and files as without")
    )
    return 1 if found or made < args.kills else 0


if __name__ == "__main__":
    sys.exit(main())
