"""A run's settings in TensorBoard: all as text, the telling ones as hparams."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorboard.plugins.hparams import api

from libra_tf.experiments.saved import dump_params
from libra_tf.training.compare_settings import setting_at

TAG = "settings"
# What rows of a table differ in, by its column.
_COLUMNS = {
    "experiment": "experiment",
    "neck": "task.model.neck.type",
    "refine": "task.model.neck.refine",
    "positives": "task.model.roi_sampler.positives",
    "negatives": "task.model.roi_sampler.negatives",
    "RPN negatives": "task.model.rpn_sampler.negatives",
    "class loss": "task.losses.classification.type",
    "box loss": "task.losses.box.type",
    "normalizer": "task.losses.normalizer",
    "batch size": "task.train_data.global_batch_size",
    "steps": "trainer.train_steps",
    "seed": "trainer.seed",
}


def write_settings(params: Any, step: int, metric: str, group: str) -> None:
    """Writes the settings to the summary writer in force.

    Args:
        params: experiment.
        step: of training.
        metric: tag of the figure that runs are compared by.
        group: where its events are, from the folder of the writer.
    """
    text = "".join(f"    {line}\n" for line in dump_params(params).splitlines())
    tf.summary.text(TAG, text, step=step)
    values = hparams(params)
    api.hparams_config(
        hparams=[api.HParam(name) for name in values],
        metrics=[api.Metric(metric, group=group)],
    )
    api.hparams(values)


def hparams(params: Any) -> dict[str, Any]:
    """Returns the settings that rows of a table differ in, as far as there are."""
    settings = params.as_dict()
    found = {name: setting_at(settings, path) for name, path in _COLUMNS.items()}
    return {name: value for name, value in found.items() if value is not None}
