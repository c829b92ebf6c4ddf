"""Shared by the tasks: which parts `init_checkpoint` sets."""

from __future__ import annotations

import math

import tf_keras

from libra_tf.errors import UserError
from libra_tf.weights.restore import RestoreReport, restore_weights


def image_size(model_config) -> list[int | None]:
    """Returns [height, width, 3] that a model is built for.

    A reference canvas has another size for every image, and training one of its own.
    """
    if model_config.canvas.form == "reference":
        return [None, None, 3]
    return list(model_config.input_size)


def require_canvas(model_config) -> None:
    """Raises `UserError` unless `input_size` tells the canvas of training."""
    if None in model_config.input_size:
        cell = 2**model_config.max_level
        side = math.ceil(model_config.canvas.long_side / cell) * cell
        raise UserError(
            "task.model.input_size is [null, null, 3], which is for evaluation and "
            "inference; training has one canvas: give its size, such as "
            f"[{side}, {side}, 3]"
        )


def initialize_model(task_config, model: tf_keras.Model) -> RestoreReport | None:
    """Loads `init_checkpoint` into the parts that `init_checkpoint_modules` names.

    Args:
      task_config: a task's settings. "all" means every part of the model
        (`checkpoint_items`); otherwise a list of parts, such as "backbone, decoder".
      model: the model to set.

    Returns:
      What was restored, or None without `init_checkpoint`.

    Raises:
      UserError: unknown part, or a checkpoint that does not fit.
    """
    if not task_config.init_checkpoint:
        return None
    parts = dict(model.checkpoint_items)
    modules = task_config.init_checkpoint_modules
    if modules != "all":
        if isinstance(modules, str):
            modules = [name.strip() for name in modules.split(",")]
        unknown = sorted(set(modules) - set(parts))
        if unknown:
            raise UserError(
                f"task.init_checkpoint_modules: no part named {', '.join(unknown)}; "
                f"there are {', '.join(sorted(parts))}"
            )
        parts = {name: parts[name] for name in modules}
    return restore_weights(task_config.init_checkpoint, parts)
