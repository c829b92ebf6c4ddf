"""The block of facts at the start of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from libra_tf.experiments.stock import is_libra_experiment, of_ours
from libra_tf.experiments.task_config import names_by_id
from libra_tf.files.printable import printable
from libra_tf.weights.restore import inspect_checkpoint


def describe_run(
    params: Any,
    strategy: tf.distribute.Strategy,
    task: Any,
    model: Any,
    resumed_from: str | None,
    step: int,
    model_dir: str,
) -> str:
    """Returns lines: devices, data, model, what was restored, where it goes."""
    gpus = len(tf.config.list_physical_devices("GPU"))
    replicas = strategy.num_replicas_in_sync
    batch_size = params.task.train_data.global_batch_size
    name = of_ours(params, "experiment") or type(params.task).__name__
    data = of_ours(params.task, "dataset") or params.task.train_data.input_path
    rows = {
        "experiment": name,
        "devices": f"{gpus} GPU found, {replicas} replica(s), "
        f"batch {batch_size} ({batch_size // replicas} per replica)",
        "data": data,
        "classes": _classes(params.task),
        "model": f"{_count(model.trainable_variables):.1f} M trainable parameters, "
        f"input {'x'.join(str(n) for n in params.task.model.input_size[:2])}",
        "switches": _switches(params.task) if is_libra_experiment(params) else "",
        "weights": _weights(task, model, resumed_from, step),
        "output": model_dir,
    }
    return "\n".join(f"  {key:<11}{value}" for key, value in rows.items() if value)


def _classes(task: Any) -> str:
    names = [printable(name) for name in names_by_id(task).values()]
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    count = task.model.num_classes
    return f"{len(names) or count - 1} ({shown})" if names else f"{count - 1}"


def _switches(task: Any) -> str:
    neck = task.model.neck
    parts = [f"neck {neck.type}" + (f" ({neck.refine})" if neck.type != "none" else "")]
    if task.is_two_stage:
        sampler = task.model.roi_sampler
        parts.append(f"RoI sampler {sampler.positives} + {sampler.negatives}")
    parts.append(f"box loss {task.losses.box.type}")
    return ", ".join(parts)


def _weights(task: Any, model: Any, resumed_from: str | None, step: int) -> str:
    if resumed_from:
        resumed = inspect_checkpoint(resumed_from, {"model": model})
        return f"resumed at step {step}: {resumed}"
    report = getattr(task, "restore_report", None)
    return f"initialised: {report}" if report else "random"


def _count(variables: Any) -> float:
    return sum(v.shape.num_elements() for v in variables) / 1e6


def write_scalars(folder: str, step: int, values: Mapping[str, float]) -> None:
    """Writes TensorBoard events to `folder` at a training step."""
    writer = tf.summary.create_file_writer(folder)
    with writer.as_default(step=step):
        for name, value in values.items():
            tf.summary.scalar(name, value)
    writer.close()
