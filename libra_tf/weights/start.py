"""Starts a training from a trained detector, with the same classes or others."""

from __future__ import annotations

import os
from typing import Any

from libra_tf.errors import UserError
from libra_tf.experiments.saved import override
from libra_tf.weights.backbone import is_torch_file
from libra_tf.weights.find_checkpoint import find_checkpoint, run_folder
from libra_tf.weights.restore import checkpoint_path

# What a run has filled in from its data set, as it is before.
_OF_THE_DATA: dict[str, Any] = {
    "task": {
        "class_names": [],
        "annotation_file": None,
        "model": {"num_classes": 0},
        "train_data": {"input_path": ""},
        "validation_data": {"input_path": ""},
    }
}


def start_from(params: Any, path: str) -> None:
    """Sets `init_checkpoint` and `init_checkpoint_modules` of an experiment.

    Args:
        params: the experiment.
        path: the folder of a run, of which the best checkpoint is taken, or the newest
            where there is none; a folder of checkpoints or a checkpoint; or a PyTorch
            file with a backbone.

    Raises:
        UserError: there is no checkpoint.
    """
    if is_torch_file(path):
        if not os.path.isfile(path):
            raise UserError(f"--init {path}: no such file")
        start, modules = path, "backbone"
    else:
        start, modules = _prefix(path), "all"
    task = {"init_checkpoint": start, "init_checkpoint_modules": modules}
    override(params, {"task": task}, "--init")


def experiment_of(path: str) -> Any:
    """Returns the experiment of a run as it was before it had seen its data set.

    Args:
        path: see `start_from`.

    Raises:
        UserError: nothing tells the experiment.
    """
    if is_torch_file(path):
        raise UserError(
            f"--init {path}: a PyTorch file tells no experiment; name one with "
            "--config or --experiment"
        )
    params = find_checkpoint(path).params
    override(params, _OF_THE_DATA, f"--init {path}")
    return params


def _prefix(path: str) -> str:
    """The checkpoint: of a run as `find_checkpoint` takes it, else as given."""
    prefix = checkpoint_path(path.removesuffix(".index"))
    return prefix if run_folder(prefix) is None else find_checkpoint(path).path
