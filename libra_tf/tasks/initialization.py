"""Shared by the tasks: a new detector, and which parts `init_checkpoint` sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import tf_keras

from libra_tf.errors import UserError
from libra_tf.experiments.task_config import MaskRCNNTask, RetinaNetTask
from libra_tf.tasks.build_errors import named_build_errors
from libra_tf.weights.backbone import is_torch_file
from libra_tf.weights.carried_classes import CarriedClasses
from libra_tf.weights.find_checkpoint import saved_class_names
from libra_tf.weights.restore import RestoreReport, checkpoint_path, restore_weights

Model = TypeVar("Model", bound=tf_keras.Model)


def new_model(
    task_config: MaskRCNNTask | RetinaNetTask, build: Callable[..., Model]
) -> Model:
    """Returns the detector of a task's settings, with random weights.

    Args:
        task_config: a task's settings.
        build: of `models`, the builder of the task's detector.

    Raises:
        UserError: parts do not fit each other; it names settings.
    """
    with named_build_errors(task_config.model):
        model = build(
            tf_keras.layers.InputSpec(shape=[None, *task_config.model.built_size]),
            task_config.model,
            l2_regularizer(task_config.losses.l2_weight_decay),
            seed=task_config.seed,
        )
    if task_config.freeze_backbone:
        model.backbone.trainable = False
    return model


def initialize_model(
    task_config: MaskRCNNTask | RetinaNetTask, model: tf_keras.Model
) -> RestoreReport | None:
    """Loads `init_checkpoint` into the parts that `init_checkpoint_modules` names.

    Args:
        task_config: a task's settings. "all" means every part of the model
            (`checkpoint_items`); otherwise a list of parts, such as "backbone,
            decoder".
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
    return restore_weights(task_config.init_checkpoint, parts, _classes(task_config))


def _classes(task_config: MaskRCNNTask | RetinaNetTask) -> CarriedClasses | None:
    """Classes of `init_checkpoint` and of the task, where that has some."""
    path, now = task_config.init_checkpoint, task_config.class_names
    if is_torch_file(path) or not now:
        return None
    return CarriedClasses(saved_class_names(checkpoint_path(path)), now)


def l2_regularizer(weight_decay: float) -> tf_keras.regularizers.Regularizer | None:
    """Returns the penalty 0.5 * weight_decay * sum(w**2), or None for 0.

    Its gradient is weight_decay * w, the weight decay of SGD.
    """
    return tf_keras.regularizers.l2(weight_decay / 2.0) if weight_decay else None
