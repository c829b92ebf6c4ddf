"""What must not change between a run and its continuation."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import tensorflow as tf

from libra_tf.errors import UserError
from libra_tf.experiments.saved import read_yaml
from libra_tf.training.compare_settings import default_settings, find_difference_at
from libra_tf.weights.restore import checkpoint_step, inspect_checkpoint

# Other settings, such as the number of steps, may change.
_FIXED = ("experiment", "task.dataset", "task.class_names", "task.model", "task.losses")


def newest_checkpoint(model_dir: str) -> str | None:
    """Returns the newest checkpoint of a folder, None if there is none at all.

    Raises:
        UserError: there are checkpoints, but the file that says which is the newest is
            lost, broken or names one that is gone.
    """
    with contextlib.suppress(ValueError):  # an empty state file
        latest = tf.train.latest_checkpoint(model_dir)
        if latest:
            return latest
    names = [os.path.basename(p) for p in tf.io.gfile.glob(f"{model_dir}/ckpt-*.index")]
    if not names:
        return None
    steps = sorted(int(n) for n in (x[5:-6] for x in names) if n.isdigit())
    raise UserError(
        f"{model_dir} holds the checkpoints {steps}, but its file `checkpoint` is "
        "lost, broken or names another; write the line "
        f'model_checkpoint_path: "ckpt-{steps[-1]}" into it, or give another folder'
    )


def step_to_resume(model_dir: str) -> int:
    """Returns the step of the newest checkpoint in a folder; 0 if there is none.

    Raises:
        UserError: the checkpoint cannot be read to its end.
    """
    latest = newest_checkpoint(model_dir)
    if latest is None:
        return 0
    try:
        reader = tf.train.load_checkpoint(latest)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except (IndexError, tf.errors.OpError) as error:
        text = " ".join(str(error).split())[:100]
        raise UserError(
            f"{latest} is damaged ({text}); name an older one in "
            f"{model_dir}/checkpoint to go on from there, or give another folder"
        ) from error
    return checkpoint_step(latest)


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
    if not newest_checkpoint(model_dir):
        return
    if not os.path.isfile(path):
        raise UserError(f"{path} is lost, so the run cannot be continued safely")
    before, now = read_yaml(path), params.as_dict()
    defaults = default_settings(params)
    for key in _FIXED:
        difference = find_difference_at(before, now, defaults, key)
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
