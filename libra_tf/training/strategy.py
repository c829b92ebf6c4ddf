"""Devices and the distribution strategy over them."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from official.common import distribute_utils

from libra_tf.errors import UserError
from libra_tf.experiments.stock import of_ours


def build_strategy(runtime: Any) -> tf.distribute.Strategy:
    """Returns the strategy that Model Garden's runtime settings ask for.

    Args:
        runtime: `RuntimeConfig`. With `cpu_replicas` N > 1 and no GPU, replicas are N
            logical CPU devices.

    Raises:
        UserError: more GPUs are asked for than there are, or the logical devices cannot
            be made any more because TensorFlow has started.
    """
    available = len(tf.config.list_physical_devices("GPU"))
    if runtime.num_gpus > available:
        raise UserError(
            f"runtime.num_gpus is {runtime.num_gpus}, but TensorFlow sees {available} "
            "GPUs here; lower it, or run `libra doctor` to find out why"
        )
    cpu_replicas = of_ours(runtime, "cpu_replicas")
    if cpu_replicas > 1:
        return tf.distribute.MirroredStrategy(logical_cpus(cpu_replicas))
    if runtime.distribution_strategy == "mirrored" and runtime.num_gpus == 0:
        # One replica either way; XLA works with this strategy only.
        return tf.distribute.OneDeviceStrategy("device:CPU:0")
    try:
        return distribute_utils.get_distribution_strategy(
            distribution_strategy=runtime.distribution_strategy,
            all_reduce_alg=runtime.all_reduce_alg,
            num_gpus=runtime.num_gpus,
            tpu_address=runtime.tpu,
        )
    except ValueError as error:
        raise UserError(
            f"runtime.distribution_strategy: {error} (mirrored, one_device, "
            "multi_worker_mirrored and parameter_server are for CPU and GPU)"
        ) from error


def logical_cpus(count: int) -> list[str]:
    """Splits the CPU into `count` logical devices; returns their names."""
    device = tf.config.list_physical_devices("CPU")[0]
    have = tf.config.get_logical_device_configuration(device)
    if have is None or len(have) < count:
        try:
            tf.config.set_logical_device_configuration(
                device, [tf.config.LogicalDeviceConfiguration()] * count
            )
        except RuntimeError as error:
            raise UserError(
                "runtime.cpu_replicas must be set before TensorFlow runs anything: "
                "start a new process"
            ) from error
    return [f"CPU:{i}" for i in range(count)]


def check_batch_size(params: Any, strategy: tf.distribute.Strategy) -> None:
    """Refuses a global batch that the replicas cannot share equally."""
    replicas = strategy.num_replicas_in_sync
    for name in ("train_data", "validation_data"):
        batch_size = getattr(params.task, name).global_batch_size
        if batch_size % replicas:
            raise UserError(
                f"task.{name}.global_batch_size is {batch_size}; it must be a multiple "
                f"of the number of replicas, {replicas}"
            )
