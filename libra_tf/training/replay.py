"""Runs a training step again that was not finite."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf
from official.core import task_factory

import libra_tf.tasks  # noqa: F401  (registration)
from libra_tf.errors import UserError, cause_of
from libra_tf.experiments.saved import load_run
from libra_tf.training.failed_step import FailedStep, as_inputs, read_dump
from libra_tf.training.finite_step import GradientCollector, is_finite
from libra_tf.training.prepare import prepare
from libra_tf.weights.restore import restore_all


@dataclasses.dataclass(frozen=True)
class Replay:
    """What a batch gave this time.

    Attributes:
        source_ids: its images.
        pixels: lowest and highest value of the images; NaN if one is.
        losses: by name.
        gradients: number of gradients.
        not_finite: variables whose gradient is not finite.
    """

    source_ids: list[int]
    pixels: tuple[float, float]
    losses: dict[str, float]
    gradients: int
    not_finite: list[str]

    @property
    def is_finite(self) -> bool:
        """Whether all losses and gradients are finite."""
        return not self.not_finite and bool(np.isfinite([*self.losses.values()]).all())


# One device, the first.
_HERE = {"distribution_strategy": "one_device", "num_gpus": 0, "cpu_replicas": 0}


def replay(folder: str, *, find_operation: bool = False) -> tuple[FailedStep, list]:
    """Runs the step that a training kept, with its batch and weights.

    The random draws of the samplers are not those of that step.

    Args:
        folder: written by a training, RUN/nonfinite/step-N.
        find_operation: stop at the first operation whose result is not finite. Some
            are in branches that nothing depends on.

    Returns:
        The step as it was kept, and a `Replay` for each of its batches.

    Raises:
        UserError: the folder is no such step.
        tf.errors.InvalidArgumentError: with `find_operation`, names the operation.
    """
    failed, weights = read_dump(folder)
    params = load_run(folder)
    # What the step ran on, and its data, need not be here.
    params.override({"runtime": _HERE, "task": {"dataset": ""}})
    prepare(params)
    task = task_factory.get_task(params.task)
    model = task.build_model()
    restore_all(weights, {"model": model}, finite=False)
    dtype = params.task.train_data.dtype
    if find_operation:
        tf.debugging.enable_check_numerics()
    try:
        found = [
            _run(task, model, batch, dtype)
            for _, batch in sorted(failed.batches.items())
        ]
    except (KeyError, TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
        if find_operation and isinstance(error, tf.errors.InvalidArgumentError):
            raise
        raise UserError(
            f"{folder}: a batch in it does not fit the detector of its params.yaml "
            f"({type(error).__name__}: {cause_of(error)})"
        ) from error
    finally:
        if find_operation:
            tf.debugging.disable_check_numerics()
    return failed, found


def _run(task: Any, model: Any, batch: dict[str, np.ndarray], dtype: str) -> Replay:
    images, labels = as_inputs(batch)
    metrics = task.build_metrics(training=True)

    @tf.function
    def step(images, labels):
        collector = GradientCollector()
        task.train_step(
            (tf.cast(images, dtype), labels),
            model=model,
            optimizer=collector,
            metrics=metrics,
        )
        return is_finite(collector.gradients)

    finite = step(images, labels).numpy()
    names = [variable.name for variable in model.trainable_variables]
    return Replay(
        source_ids=FailedStep(0, batches={0: batch}).source_ids,
        pixels=(float(np.min(batch["images"])), float(np.max(batch["images"]))),
        losses={metric.name: float(metric.result()) for metric in metrics},
        gradients=len(finite),
        not_finite=[n for n, ok in zip(names, finite, strict=True) if not ok],
    )
