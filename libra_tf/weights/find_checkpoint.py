"""Which checkpoint a path means, and the experiment that belongs to it."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import tensorflow as tf

from libra_tf.errors import UserError
from libra_tf.experiments.saved import PARAMS_FILE, load_run, read_yaml
from libra_tf.weights.restore import checkpoint_path

BEST = "best_ckpt"
# Model Garden's, written at each evaluation of a run with `optimizer_config.ema`; what
# was evaluated are the averages, while `ckpt-N` holds the weights as they are.
AVERAGES = "ema_checkpoints"


@dataclasses.dataclass(frozen=True)
class RunCheckpoint:
    """A checkpoint prefix and the experiment of its run."""

    path: str
    params: Any


def find_checkpoint(path: str, *, newest: bool = False) -> RunCheckpoint:
    """Finds a checkpoint and its params.yaml.

    Args:
        path: the folder of a run (its best checkpoint if it has one, else the newest;
            of a run with averaged weights, the newest averages), a folder of
            checkpoints in it, or a checkpoint prefix such as "run/ckpt-800".
        newest: take the newest of a run even if there is a best one.

    Raises:
        UserError: there is no checkpoint or no params.yaml.
    """
    path = path.removesuffix(".index").rstrip("/") or path
    preferred = [AVERAGES] if newest else [BEST, AVERAGES]
    folders = [os.path.join(path, name) for name in preferred]
    prefix = checkpoint_path(
        next((f for f in folders if tf.train.latest_checkpoint(f)), path)
    )
    folder = run_folder(prefix)
    if folder is None:
        raise UserError(
            f"{path}: no params.yaml beside the checkpoint or one folder above"
        )
    return RunCheckpoint(prefix, load_run(folder))


def run_folder(prefix: str) -> str | None:
    """Returns the folder of a checkpoint's run, which has its params.yaml, or None.

    Args:
        prefix: of the checkpoint; its folder and the one above are looked into.
    """
    # Absolute, so that "." has a folder above it.
    folder = os.path.dirname(prefix if "://" in prefix else os.path.abspath(prefix))
    for candidate in (folder, os.path.dirname(folder)):
        if os.path.isfile(os.path.join(candidate, PARAMS_FILE)):
            return candidate
    return None


def saved_class_names(prefix: str) -> list[str]:
    """Returns the class names of the run of a checkpoint; empty if it has none.

    Args:
        prefix: of a checkpoint.
    """
    folder = run_folder(prefix)
    if folder is None:
        return []
    task = read_yaml(os.path.join(folder, PARAMS_FILE)).get("task")
    names = task.get("class_names") if isinstance(task, dict) else None
    return [str(name or "") for name in names or []]
