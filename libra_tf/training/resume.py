"""What must not change between a run and its continuation."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf

from libra_tf.errors import UserError
from libra_tf.experiments.saved import read_yaml
from libra_tf.tasks.restore import checkpoint_step, inspect_checkpoint

# Other settings, such as the number of steps, may change.
_FIXED = ("experiment", "task.dataset", "task.class_names", "task.model", "task.losses")


def step_to_resume(model_dir: str) -> int:
    """Returns the step of the newest checkpoint in a folder; 0 if there is none."""
    latest = tf.train.latest_checkpoint(model_dir)
    return checkpoint_step(latest) if latest else 0


def check_settings(params: Any, model_dir: str, params_file: str) -> None:
    """Refuses to continue a run with another model, loss or data set.

    Args:
      params: resolved experiment.
      model_dir: folder that may hold checkpoints.
      params_file: name of the settings file in it.

    Raises:
      UserError: names the first setting that differs.
    """
    path = os.path.join(model_dir, params_file)
    if not tf.train.latest_checkpoint(model_dir) or not os.path.isfile(path):
        return
    before, now = read_yaml(path), params.as_dict()
    for key in _FIXED:
        difference = _difference(_at(before, key), _at(now, key), key)
        if difference:
            raise UserError(
                f"{model_dir} holds a run with {difference}; give another output "
                "folder, or the same setting to continue it"
            )


def check_complete(checkpoint: str, model: tf.Module) -> None:
    """Refuses a checkpoint that would leave a part of the model at random weights."""
    report = inspect_checkpoint(checkpoint, {"model": model})
    if report.restored < report.total:
        raise UserError(
            f"the run cannot be continued, its model was another one: {report}"
        )


def _at(values: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _difference(before: Any, now: Any, key: str) -> str | None:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before.keys() & now.keys()):
            found = _difference(before[name], now[name], f"{key}.{name}")
            if found:
                return found
        return None
    if isinstance(before, list | tuple) and isinstance(now, list | tuple):
        before, now = list(before), list(now)
    return None if before == now else f"{key} = {before!r}, not {now!r}"
