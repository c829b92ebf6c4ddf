"""TensorBoard's page `imbalance/`: what the training step's batch shows.

The look is a pass of its own, traced once and not by XLA, over the batch that the
trainer has just seen; nothing of it is in the graph of the step. It changes neither
weights nor what BatchNorm, samplers and losses keep. It costs about a step (no
gradient goes below the pyramid), so one in `trainer.imbalance_interval` steps, 100 by
default, costs about a hundredth.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import tensorflow as tf
from official.vision.utils.summary_manager import ImageScalarSummaryManager

from libra_tf.diagnostics.figures import Figures, figures
from libra_tf.diagnostics.inspect_batch import inspect_batch
from libra_tf.diagnostics.objective import box_losses
from libra_tf.training.batch_watch import BatchWatch
from libra_tf.training.histograms import write_histogram
from libra_tf.training.layout import GROUP, write_layout
from libra_tf.training.trainer import Trainer

# The look's time beside that of all since the look before.
SHARE = "speed/imbalance_page_share"


class ImbalancePage:
    """Looks at due batches and writes what they show; call it as an Orbit action.

    Args:
        trainer: of an experiment of this package, whose graph is not traced yet.
        params: the experiment.
        summaries: where the page is written.
    """

    def __init__(
        self, trainer: Trainer, params: Any, summaries: ImageScalarSummaryManager
    ):
        self._trainer = trainer
        self._task = params.task
        self._seed = params.trainer.seed or 0
        self._summaries = summaries
        self._losses = box_losses(params.task.losses)
        self._look = tf.function(self._sums, autograph=False)
        self._looks = 0
        self._since = time.monotonic()
        trainer.watch = BatchWatch(
            params.trainer.imbalance_interval, params.trainer.summary_interval
        )

    def __call__(self, output: object) -> None:
        """Writes the page if the step that has just ended is due."""
        watch, step = self._trainer.watch, int(self._trainer.global_step.numpy())
        batches = watch.take(step) if watch else None
        if batches is None:
            return
        begin = time.monotonic()
        found = self.look(batches, step)
        end = time.monotonic()
        share = (end - begin) / max(end - self._since, 1e-9)
        self._since = end
        self._write(found, step)
        if self._looks:  # the first traces its graph
            with self._summaries.summary_writer().as_default(step=step):
                tf.summary.scalar(SHARE, share)
        self._looks += 1

    def look(self, batches: dict[int, Any], step: int) -> Figures:
        """Returns what the batches of all replicas show together.

        Args:
            batches: images and labels by number of the replica.
            step: with the run's seed, the seed of the samplers.
        """
        strategy = self._trainer.strategy

        def of_replica(context: tf.distribute.ReplicaContext) -> Any:
            batch = batches[context.replica_id_in_sync_group]
            return tf.nest.map_structure(tf.constant, batch)

        with strategy.scope():
            inputs = strategy.experimental_distribute_values_from_function(of_replica)
            sums = self._look(inputs, tf.constant([self._seed, step], tf.int64))
        model = self._task.model
        return figures(
            tf.nest.map_structure(lambda x: x.numpy().astype(np.float64), sums),
            range(model.min_level, model.max_level + 1),
            self._task.class_names,
        )

    def _sums(self, inputs: Any, seed: tf.Tensor) -> Any:
        trainer, strategy = self._trainer, self._trainer.strategy

        def in_replica(batch: Any) -> Any:
            context = tf.distribute.get_replica_context()
            replica = tf.cast(context.replica_id_in_sync_group, tf.int64)
            own = tf.random.experimental.stateless_fold_in(seed, replica, alg="philox")
            images, labels = batch
            model, task, losses = trainer.model, trainer.task, self._losses
            return inspect_batch(model, task, losses, images, labels, own).sums

        def add(value: Any) -> tf.Tensor:
            return strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)

        return tf.nest.map_structure(add, strategy.run(in_replica, args=(inputs,)))

    def _write(self, found: Figures, step: int) -> None:
        with self._summaries.summary_writer().as_default(step=step):
            for name, value in found.scalars.items():
                tf.summary.scalar(GROUP + name, value)
            for name, histogram in found.histograms.items():
                write_histogram(GROUP + name, histogram, step)
            if not self._looks:
                write_layout(set(found.scalars), step)
