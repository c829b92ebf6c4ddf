"""Model Garden's trainer, with XLA on the CPU too, and no step that is not finite."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from official.core import base_trainer
from official.core.config_definitions import DataConfig
from official.modeling import optimization

from libra_tf.evaluation.evaluator import CocoEvaluator
from libra_tf.experiments.stock import of_ours
from libra_tf.inputs.one_order import one_by_one
from libra_tf.training.batch_watch import BatchWatch
from libra_tf.training.checkpoints import raise_failed_save
from libra_tf.training.cluster import Cluster
from libra_tf.training.data_position import begin_of_part, seeded
from libra_tf.training.failed_step import NonFiniteStep, Recorder, merged, pack
from libra_tf.training.finite_step import (
    GradientCollector,
    anywhere,
    is_finite,
    train_while_finite,
)
from libra_tf.training.shared_evaluation import (
    PartOfData,
    evaluation_loop,
    input_context,
)
from libra_tf.training.speed import LoopSpeed
from libra_tf.training.stop import StopTraining


class Trainer(base_trainer.Trainer):
    """Compiles the training step where `runtime.enable_xla` asks for it.

    Model Garden ignores `enable_xla` without GPUs. Whether it pays depends on the CPU:
    measure it, see `libra ablate --timing`.

    A loop of steps ends at the first whose loss or gradients are not finite, or whose
    loss is above `trainer.loss_upper_bound`; that step changes no weight.

    Attributes:
        recorder: knows that step.
        stops: is asked before each step whether the loop has to end.
        all_stop: the same of all processes, which ask together.
        watch: keeps the batches of some steps; to be set before the first.
    """

    def __init__(
        self,
        *args: Any,
        train: bool = True,
        step: int = 0,
        cluster: Cluster | None = None,
        **kwargs: Any,
    ):
        """Takes what the base class takes; to be called in the strategy's scope.

        Args:
            *args: see the base class.
            train: whether it trains.
            step: at which training goes on; the data are drawn with another seed then.
            cluster: the processes that train together.
            **kwargs: see the base class.
        """
        config = args[0] if args else kwargs["config"]
        self._data_begin = step
        self._cluster = cluster or Cluster()
        if of_ours(config.runtime, "deterministic"):
            self._data_begin = begin_of_part(step, config.trainer)
        super().__init__(*args, train=train, **kwargs)
        self.recorder = Recorder(self.model.trainable_variables)
        self.stops: Callable[[], bool] = lambda: False
        self.all_stop: Callable[[], bool] = lambda: False
        if not self._cluster.is_one and (evaluator := self._evaluator):
            evaluator.exchange = self._cluster.exchange
        self.watch: BatchWatch | None = None
        self._speed = LoopSpeed()
        if train:
            self._train_iter: Any
            # Created in the first step, they would have it traced twice.
            create_slots(self.optimizer, self.model.trainable_variables)

    def distribute_dataset(
        self,
        dataset_or_fn: Callable[..., tf.data.Dataset],
        data: DataConfig,
        *args: object,
        **kwargs: object,
    ) -> tf.distribute.DistributedDataset:
        """Opens an input pipeline on the strategy; see the base class.

        Of several processes each evaluates its own part. Batches of a deterministic run
        are dealt out by hand: its pipeline is opened again and again, and with each
        distributed one TensorFlow traces the step anew.
        """
        if data.is_training and data.seed is not None:
            data = data.replace(seed=data.seed + self._data_begin)
        build = dataset_or_fn
        if of_ours(self.config.runtime, "deterministic"):
            build = self._in_one_order(dataset_or_fn)
        place, replicas = self._cluster.place, self.strategy.num_replicas_in_sync
        if not data.is_training and place.count > 1:
            return PartOfData(functools.partial(build, data), place, replicas)
        if data.is_training and self._deals_out:
            return build(data, input_context=input_context(place, replicas))
        return super().distribute_dataset(build, data, *args, **kwargs)

    @property
    def _deals_out(self) -> bool:
        """Whether batches are given to the replicas here."""
        is_deterministic = of_ours(self.config.runtime, "deterministic")
        return is_deterministic and self.strategy.num_replicas_in_sync > 1

    def next_train_inputs(self, iterator):
        """Fetches the next inputs; see the base class."""
        if not self._deals_out:
            return super().next_train_inputs(iterator)
        values = self.strategy.experimental_distribute_values_from_function
        return values(lambda _: next(iterator))

    def _in_one_order(
        self, dataset_fn: Callable[..., tf.data.Dataset]
    ) -> Callable[..., tf.data.Dataset]:
        # Orbit looks for the name `input_context` among the positional arguments.
        def build(
            data: DataConfig, input_context: tf.distribute.InputContext | None = None
        ) -> tf.data.Dataset:
            with seeded(data.seed, then=self.config.trainer.seed):
                return one_by_one(dataset_fn(data, input_context=input_context))

        return build

    def train_loop_begin(self):
        """Tells of a save that failed meanwhile, and opens the data that are needed.

        A deterministic run needs others at times; see `data_position`.
        """
        raise_failed_save(self.checkpoint)
        self._speed.begin()
        if not of_ours(self.config.runtime, "deterministic"):
            return
        step = int(self.global_step.numpy())
        begin = begin_of_part(step, self.config.trainer)
        if begin != self._data_begin:
            self._data_begin = begin
            self.train_dataset = self.distribute_dataset(
                self.task.build_inputs, self.config.task.train_data
            )
        if self._train_iter is None:
            batches = iter(self.train_dataset)
            for _ in range(step - begin):
                next(batches)
            self._train_iter = batches

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

    def evaluate(self, num_steps):
        """Evaluates; see the base class.

        Raises:
            StopTraining: it was to stop; the weights are those of training.
        """
        try:
            return super().evaluate(num_steps)
        except StopTraining:
            if isinstance(self.optimizer, optimization.ExponentialMovingAverage):
                self.optimizer.swap_weights()
            raise

    def eval_reduce(self, state=None, step_outputs=None):
        """Adds what a step of evaluation gave; see the base class."""
        if self._cluster.is_one and self.stops():
            raise StopTraining
        return super().eval_reduce(state, step_outputs)

    def eval_begin(self):
        """Sets up metrics; see the base class."""
        super().eval_begin()
        if not self._cluster.is_one and (evaluator := self._evaluator):
            evaluator.reset_states()  # it may see no image here

    def eval_end(self, aggregated_logs=None):
        """Computes metrics, of what all processes saw; see the base class."""
        return super().eval_end(aggregated_logs or not self._cluster.is_one)

    def create_eval_loop_fn(self, has_state: bool) -> Callable[..., Any]:
        """Returns Orbit's loop, or one that several processes go through together."""
        if self._cluster.is_one:
            return super().create_eval_loop_fn(has_state)
        return evaluation_loop(self.eval_step, self._cluster, self._may_go_on)

    def _may_go_on(self) -> None:
        if self.all_stop():
            raise StopTraining

    def next_eval_inputs(self, iterator):
        """Fetches the next inputs; see the base class."""
        if self._cluster.is_one:
            return super().next_eval_inputs(iterator)
        values = self.strategy.experimental_distribute_values_from_function
        return values(lambda _: next(iterator)), {}

    @property
    def _evaluator(self) -> CocoEvaluator | None:
        found = getattr(self.task, "coco_metric", None)
        return found if isinstance(found, CocoEvaluator) else None

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
