"""training.strategy: devices that are there, batches that can be shared."""

import types

import programs
import pytest
import tensorflow as tf

from libra_tf.errors import UserError
from libra_tf.experiments.task_config import RuntimeConfig
from libra_tf.training.strategy import build_strategy, check_batch_size


def settings(batch_size):
    data = types.SimpleNamespace(global_batch_size=batch_size)
    task = types.SimpleNamespace(train_data=data, validation_data=data)
    return types.SimpleNamespace(task=task)


def test_more_gpus_than_there_are():
    here = len(tf.config.list_physical_devices("GPU"))
    with pytest.raises(UserError, match=rf"num_gpus is 99, but .* sees {here} GPUs"):
        build_strategy(RuntimeConfig(num_gpus=99))


def test_a_negative_number_of_gpus():
    with pytest.raises(UserError, match="`num_gpus` can not be negative"):
        build_strategy(RuntimeConfig(num_gpus=-1))


def test_an_unknown_strategy():
    with pytest.raises(UserError, match=r"^runtime.distribution_strategy: .*fastest"):
        build_strategy(RuntimeConfig(num_gpus=0, distribution_strategy="fastest"))


def test_the_cpu_alone_is_one_replica():
    strategy = build_strategy(RuntimeConfig(num_gpus=0))
    # Not a MirroredStrategy, under which XLA fails.
    assert isinstance(strategy, tf.distribute.OneDeviceStrategy)
    assert strategy.num_replicas_in_sync == 1


def test_cpu_replicas_after_tensorflow_has_started():
    tf.zeros([1]).numpy()
    with pytest.raises(UserError, match="before TensorFlow runs anything"):
        build_strategy(RuntimeConfig(num_gpus=0, cpu_replicas=64))


def test_cpu_replicas_in_a_fresh_process():
    code = """
import types
from libra_tf.errors import UserError
from libra_tf.experiments.task_config import RuntimeConfig
from libra_tf.training.strategy import build_strategy, check_batch_size, logical_cpus
strategy = build_strategy(RuntimeConfig(num_gpus=0, cpu_replicas=3))
print(strategy.num_replicas_in_sync, logical_cpus(2))
data = types.SimpleNamespace(global_batch_size=6)
task = types.SimpleNamespace(train_data=data, validation_data=data)
params = types.SimpleNamespace(task=task)
check_batch_size(params, strategy)
data.global_batch_size = 8
try:
    check_batch_size(params, strategy)
except UserError as error:
    print(error)
"""
    done = programs.run(["-c", code])
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "3 ['CPU:0', 'CPU:1']"
    assert second == (
        "task.train_data.global_batch_size is 8; it must be a multiple of the number "
        "of replicas, 3"
    )


@pytest.mark.parametrize(("batch_size", "replicas"), [(1, 1), (6, 2), (16, 8)])
def test_batches_that_replicas_share(batch_size, replicas):
    strategy = types.SimpleNamespace(num_replicas_in_sync=replicas)
    check_batch_size(settings(batch_size), strategy)


@pytest.mark.parametrize(("batch_size", "replicas"), [(1, 2), (7, 2), (12, 8)])
def test_batches_that_replicas_cannot_share(batch_size, replicas):
    strategy = types.SimpleNamespace(num_replicas_in_sync=replicas)
    with pytest.raises(UserError, match=f"is {batch_size}; .* replicas, {replicas}$"):
        check_batch_size(settings(batch_size), strategy)
