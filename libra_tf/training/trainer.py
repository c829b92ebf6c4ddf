"""Model Garden's trainer, with XLA on the CPU too, and no step that is not finite."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from libra_tf.training.batch_watch import BatchWatch
from libra_tf.training.checkpoints import raise_failed_save
from libra_tf.training.data_trainer import DataTrainer
from libra_tf.training.failed_step import NonFiniteStep, Recorder, merged, pack
from libra_tf.training.finite_step import (
    GradientCollector,
    anywhere,
    is_finite,
    train_while_finite,
)
from libra_tf.training.speed import LoopSpeed
from libra_tf.training.stop import StopTraining


class Trainer(DataTrainer):
    """Compiles the training step where `runtime.enable_xla` asks for it.

    Model Garden ignores `enable_xla` without GPUs. Whether it pays depends on the CPU:
    measure it, see `libra ablate --timing`.

    A loop of steps ends at the first whose loss or gradients are not finite, or whose
    loss is above `trainer.loss_upper_bound`; that step changes no weight.

    Attributes:
        recorder: knows that step.
        watch: keeps the batches of some steps; to be set before the first.
    """

    def __init__(self, *args: Any, train: bool = True, **kwargs: Any):
        """Takes what the base class takes; to be called in the strategy's scope.

        Args:
            *args: see the base class.
            train: whether it trains.
            **kwargs: see the base class.
        """
        super().__init__(*args, train=train, **kwargs)
        self.recorder = Recorder(self.model.trainable_variables)
        self.watch: BatchWatch | None = None
        self._speed = LoopSpeed()
        if train:
            # Created in the first step, they would have it traced twice.
            create_slots(self.optimizer, self.model.trainable_variables)

    def train_step(self, iterator):
        """Runs one step; returns whether its losses and gradients were finite."""
        inputs = self._speed.timed(
            lambda: self.next_train_inputs(iterator),
            local=self.strategy.experimental_local_results,
        )
        stopped = False
        if not self._cluster.is_one:
            # They end together, and have to find out in a step.
            stopped = tf.numpy_function(lambda: self.stops(), [], tf.bool)
        go_on = self.strategy.run(
            self._step_of_replica,
            args=(inputs, stopped),
            options=self._runtime_options,
        )
        return tf.reduce_all(self.strategy.experimental_local_results(go_on))

    def _step_of_replica(self, inputs, stopped):
        runtime = self.config.runtime
        on_one_cpu = runtime.num_gpus == 0 and self.strategy.num_replicas_in_sync == 1
        compiled = runtime.enable_xla and (runtime.num_gpus > 0 or on_one_cpu)
        step = functools.partial(self._guarded, compiled=compiled)
        if compiled:
            step = tf.function(step, jit_compile=True)
        number = self.global_step + 1
        loss, finite, good, go_on = step(inputs, number, stopped)
        self._train_loss.update_state(loss)
        self.global_step.assign_add(1)
        tf.cond(
            good,
            lambda: tf.constant(True),
            lambda: self.recorder.record(number, finite, inputs),
        )
        if self.watch is not None:
            self.watch.keep(number, inputs)
        return go_on

    def _guarded(self, inputs, number, stopped, compiled):
        """Returns the loss, which gradients are finite, if all is good, and goes on."""
        # One that scales the loss (float16) passes over gradients that are not finite
        # itself, which is how it finds its scale.
        scales = isinstance(self.optimizer, tf_keras.mixed_precision.LossScaleOptimizer)
        optimizer = self.optimizer if scales else GradientCollector(self.optimizer)
        logs = self.task.train_step(
            inputs, model=self.model, optimizer=optimizer, metrics=self.train_metrics
        )
        loss = logs[self.task.loss]
        finite = is_finite([] if scales else optimizer.gradients)
        in_range = (loss <= self._loss_bound(number)) & tf.math.is_finite(loss)
        good = go_on = in_range & tf.reduce_all(finite)
        if not self._cluster.is_one:
            bad, stopped = anywhere(~good, stopped)
            good, go_on = ~bad, ~(bad | stopped)
        if not scales:
            optimizer.apply_if(good, compiled=compiled)
        return loss, finite, good, go_on

    def _loss_bound(self, step: tf.Tensor) -> tf.Tensor:
        trainer = self.config.trainer
        counts = step >= trainer.recovery_begin_steps
        return tf.where(counts, trainer.loss_upper_bound, np.inf)

    def train_loop_begin(self):
        """Tells of a save that failed meanwhile; see the base class."""
        raise_failed_save(self.checkpoint)
        self._speed.begin()
        super().train_loop_begin()

    def create_train_loop_fn(self):
        """Returns Orbit's inner loop, which ends early where it has to."""
        options = self._train_options
        if options.use_tpu_summary_optimization:
            return super().create_train_loop_fn()

        def go_on():
            return tf.numpy_function(lambda: not self._ends(), [], tf.bool)

        def in_graph(iterator, num_steps):
            train_while_finite(lambda: self.train_step(iterator), num_steps, go_on)

        if options.use_tf_while_loop:
            return tf.function(in_graph)
        step = self.train_step
        if options.use_tf_function:
            step = tf.function(step)

        def loop(iterator, num_steps):
            for _ in range(num_steps):
                if self._ends() or not step(iterator):
                    break

        return loop

    def _ends(self) -> bool:
        """Whether no step may begin; several processes see to it in the step before."""
        return self._cluster.is_one and self.stops()

    def train_loop_end(self):
        """Returns the logs of the loop.

        Raises:
            NonFiniteStep: it ended at such a step.
            StopTraining: it ended before its first step.
        """
        if self._ends() and not float(self.train_loss.count):
            raise StopTraining
        logs = super().train_loop_end()
        failed, self.recorder.failed = self.recorder.failed, None
        if not self._cluster.is_one:
            failed = merged(self._cluster.exchange(pack(failed)))
        if failed is not None:
            failed.name_parts(logs)
            raise NonFiniteStep(failed)
        return {**logs, **self._speed.end()}


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
