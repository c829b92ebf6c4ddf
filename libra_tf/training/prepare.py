"""From an experiment as written to one that is locked, with devices and seeds set."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras
from official.modeling import performance

from libra_tf.experiments.resolve import resolve
from libra_tf.experiments.stock import is_libra_experiment
from libra_tf.training.strategy import build_strategy, check_batch_size


def prepare(
    params: Any, strategy: tf.distribute.Strategy | None = None
) -> tf.distribute.Strategy:
    """Resolves and locks `params`, sets precision and seed; returns the strategy.

    Experiments of Model Garden itself are run as they are.

    Args:
        params: experiment; changed in place.
        strategy: if there is one already; several processes have it first of all.
    """
    if is_libra_experiment(params):
        resolve(params)
        _seed(params)
    params.validate()
    params.lock()
    strategy = strategy or build_strategy(params.runtime)
    check_batch_size(params, strategy)
    # Notes on what a checkpoint holds beside the model; run_report counts instead.
    tf.get_logger().setLevel("ERROR")
    if params.runtime.mixed_precision_dtype:
        performance.set_mixed_precision_policy(params.runtime.mixed_precision_dtype)
    return strategy


def _seed(params: Any) -> None:
    seed = params.trainer.seed
    if seed is None:
        return
    tf_keras.utils.set_random_seed(seed)
    if params.task.seed is None:
        params.task.seed = seed
    if params.task.train_data.seed is None:
        params.task.train_data.seed = seed
    if params.task.is_two_stage:
        params.task.model.roi_sampler.seed = seed
