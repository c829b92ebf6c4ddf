"""Model Garden's trainer, with XLA on the CPU too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras
from official.core import base_trainer

from libra_tf.experiments.stock import of_ours
from libra_tf.inputs.one_order import one_by_one


class Trainer(base_trainer.Trainer):
    """Compiles the training step where `runtime.enable_xla` asks for it.

    Model Garden ignores `enable_xla` without GPUs. Whether it pays depends on the CPU:
    measure it, see `libra ablate --timing`.
    """

    def __init__(self, *args: Any, train: bool = True, **kwargs: Any):
        """Takes what the base class takes; to be called in the strategy's scope."""
        super().__init__(*args, train=train, **kwargs)
        if train:
            # Created in the first step, they would have it traced twice.
            create_slots(self.optimizer, self.model.trainable_variables)

    def distribute_dataset(
        self,
        dataset_or_fn: Callable[..., tf.data.Dataset],
        *args: object,
        **kwargs: object,
    ) -> tf.distribute.DistributedDataset:
        """Opens an input pipeline on the strategy; see the base class."""
        if not of_ours(self.config.runtime, "deterministic"):
            return super().distribute_dataset(dataset_or_fn, *args, **kwargs)

        def build(*args, **kwargs):
            return one_by_one(dataset_or_fn(*args, **kwargs))

        return super().distribute_dataset(build, *args, **kwargs)

    def train_step(self, iterator):
        """Runs one step; see the base class."""
        runtime = self.config.runtime
        on_one_cpu = runtime.num_gpus == 0 and self.strategy.num_replicas_in_sync == 1
        if not (runtime.enable_xla and on_one_cpu):
            super().train_step(iterator)
            return

        compiled_step = tf.function(self.task.train_step, jit_compile=True)

        def step_fn(inputs):
            logs = compiled_step(
                inputs,
                model=self.model,
                optimizer=self.optimizer,
                metrics=self.train_metrics,
            )
            self.train_loss.update_state(logs[self.task.loss])
            self.global_step.assign_add(1)

        self.strategy.run(step_fn, args=(self.next_train_inputs(iterator),))


def create_slots(optimizer: Any, weights: list[tf.Variable]) -> None:
    """Creates the variables of an optimizer, which would else wait for its first step.

    Args:
        optimizer: one of Model Garden's, which may hold another.
        weights: what it is to train.
    """
    if isinstance(optimizer, tf_keras.optimizers.legacy.Optimizer):
        optimizer._create_all_weights(weights)  # the public call is a step
    else:
        optimizer.build(weights)
