"""Evaluates a checkpoint outside of a training run."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

import numpy as np
import tensorflow as tf
from official.core import task_factory

import libra_tf.tasks  # noqa: F401  (registration)
from libra_tf.evaluation.evaluator import CocoEvaluator
from libra_tf.experiments.lost_objects import lost_objects
from libra_tf.experiments.stock import is_libra_experiment, of_ours
from libra_tf.inputs.check_records import check_records
from libra_tf.inputs.data_errors import named_data_errors
from libra_tf.training.prepare import prepare
from libra_tf.weights.restore import restore_all


def evaluate_checkpoint(
    params: Any, checkpoint: str, stream: TextIO | None = None
) -> tuple[dict[str, float], CocoEvaluator]:
    """Runs a checkpoint over the validation split of its experiment.

    Args:
        params: an experiment; resolved and locked here.
        checkpoint: checkpoint prefix.
        stream: for progress lines; standard error by default.

    Returns:
        The metrics by name, and the evaluator, which holds detections and tables.
    """
    stream = stream or sys.stderr
    strategy = prepare(params)
    for line in check_records(params, ["validation_data"]):
        print(line, file=stream)
    if is_libra_experiment(params):
        for line in lost_objects(params.task, trains=False):
            print(line, file=stream)
    with strategy.scope():
        task = task_factory.get_task(params.task)
        model = task.build_model()
        metrics = task.build_metrics(training=False)
    restore_all(checkpoint, {"model": model})
    dataset = task.build_inputs(params.task.validation_data)

    # One graph for all sizes of image; else one for each, with the sizes known.
    any_size = of_ours(params.task.model, "fits_each_image")

    @tf.function(input_signature=[dataset.element_spec] if any_size else None)
    def step(inputs):
        return task.validation_step(inputs, model=model, metrics=metrics)

    state, images, start = None, 0, time.monotonic()
    device = "GPU:0" if params.runtime.num_gpus else "CPU:0"
    with named_data_errors(params, ["validation_data"]), tf.device(device):
        for batch in dataset:
            # Metrics are logged as their current value; only detections are needed.
            state = task.aggregate_logs(state, step(batch))
            images += int(batch[0].shape[0])
            rate = images / (time.monotonic() - start)
            print(f"\r{images} images, {rate:.1f}/s", end="", file=stream, flush=True)
    print(file=stream)
    logs = task.reduce_aggregated_logs(state)
    scalars = {k: float(v) for k, v in logs.items() if np.ndim(v) == 0}
    return scalars, task.coco_metric
