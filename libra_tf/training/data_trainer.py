"""The data of a trainer's steps and evaluations, of one process or several."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from official.core import base_trainer
from official.core.config_definitions import DataConfig
from official.modeling import optimization

from libra_tf.evaluation.evaluator import CocoEvaluator
from libra_tf.experiments.stock import of_ours
from libra_tf.inputs.one_order import one_by_one
from libra_tf.training.cluster import Cluster
from libra_tf.training.data_position import begin_of_part, seeded
from libra_tf.training.shared_evaluation import (
    PartOfData,
    evaluation_loop,
    input_context,
)
from libra_tf.training.stop import StopTraining


class DataTrainer(base_trainer.Trainer):
    """Model Garden's trainer, which divides data among processes and repeats draws.

    Attributes:
        stops: is asked before each step whether the loop has to end.
        all_stop: the same of all processes, which ask together.
    """

    def __init__(
        self, *args: Any, step: int = 0, cluster: Cluster | None = None, **kwargs: Any
    ):
        """Takes what the base class takes; to be called in the strategy's scope.

        Args:
            *args: see the base class.
            step: at which training goes on; the data are drawn with another seed then.
            cluster: the processes that train together.
            **kwargs: see the base class.
        """
        config = args[0] if args else kwargs["config"]
        self._data_begin = step
        self._cluster = cluster or Cluster()
        if of_ours(config.runtime, "deterministic"):
            self._data_begin = begin_of_part(step, config.trainer)
        self.stops: Callable[[], bool] = lambda: False
        self.all_stop: Callable[[], bool] = lambda: False
        self._train_iter: Any
        super().__init__(*args, **kwargs)
        if not self._cluster.is_one and (evaluator := self._evaluator):
            evaluator.exchange = self._cluster.exchange

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
    def _batches_of_step(self) -> int:
        """How many batches of its pipeline a step of this process takes."""
        if not self._deals_out:
            return 1
        return self.strategy.num_replicas_in_sync // self._cluster.place.count

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
        """Opens the data that are needed.

        A deterministic run needs others at times; see `data_position`.
        """
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
            for _ in range((step - begin) * self._batches_of_step):
                next(batches)
            self._train_iter = batches

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
