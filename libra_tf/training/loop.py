"""What a run is made of: a trainer, Orbit's loop, and what watches them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any, TextIO

import tensorflow as tf
from official.core import base_task, train_utils

from libra_tf.errors import UserError
from libra_tf.experiments.saved import PARAMS_FILE
from libra_tf.experiments.stock import of_ours
from libra_tf.training.best_checkpoint import best_checkpoint
from libra_tf.training.cluster import Cluster
from libra_tf.training.experiment_runner import ExperimentRunner
from libra_tf.training.imbalance_page import ImbalancePage
from libra_tf.training.metrics_file import METRICS_FILE
from libra_tf.training.progress import Progress
from libra_tf.training.stop import StopOnSignal
from libra_tf.training.tags import GroupedSummaries, grouped_summaries
from libra_tf.training.trainer import Trainer

ORBIT_LOG = "orbit.log"


@dataclasses.dataclass(frozen=True)
class Job:
    """What was asked for; see `runner.run`."""

    params: Any
    mode: str
    model_dir: str
    async_checkpoints: bool
    stream: TextIO
    cluster: Cluster = dataclasses.field(default_factory=Cluster)

    @property
    def trains(self) -> bool:
        """Whether it is more than an evaluation."""
        return "train" in self.mode

    @property
    def data(self) -> list[str]:
        """Settings of the data that are read."""
        used = {"train_data": self.trains, "validation_data": "eval" in self.mode}
        return [name for name, is_used in used.items() if is_used]

    @property
    def best_folder(self) -> str:
        """Where the best checkpoint goes."""
        folder = self.params.trainer.best_checkpoint_export_subdir
        return os.path.join(self.model_dir, folder)

    @property
    def event_folders(self) -> list[str]:
        """Where TensorBoard's files go: those of training where Model Garden says."""
        subfolders = "train", self.params.trainer.validation_summary_subdir
        return [os.path.join(self.model_dir, folder) for folder in subfolders]

    @property
    def folders(self) -> list[str]:
        """Where files are made."""
        return [self.model_dir, *self.event_folders, self.best_folder]

    @property
    def grown_files(self) -> list[str]:
        """Files that each process of the run goes on with."""
        return [os.path.join(self.model_dir, x) for x in (METRICS_FILE, ORBIT_LOG)]

    @property
    def replaced_files(self) -> list[str]:
        """Files that a process that trains writes anew."""
        names = [PARAMS_FILE, "checkpoint"] if self.trains else []
        return [os.path.join(self.model_dir, name) for name in names]

    def check_present(self, _: object = None) -> None:
        """Refuses to go on in a folder that was removed: a save would make a new one.

        Raises:
            UserError: the settings of the run are gone.
        """
        path = os.path.join(self.model_dir, PARAMS_FILE)
        if not os.path.isfile(path):
            raise UserError(
                f"{path}: is gone: the folder was removed or emptied while a run "
                "trained in it; begin again"
            )

    def tell(self, text: str) -> None:
        """Prints a line for people."""
        print(text, file=self.stream, flush=True)


@dataclasses.dataclass(frozen=True)
class Loop:
    """A run that can start.

    Attributes:
        strategy: devices.
        task: Model Garden's.
        trainer: holds model, optimizer and step.
        runner: Model Garden's, around Orbit's controller.
        stop: ends it on a signal.
        progress: tells how far it is.
        last: metrics of the last evaluation; filled as it runs.
        summaries: TensorBoard's files of training.
    """

    strategy: tf.distribute.Strategy
    task: base_task.Task
    trainer: Trainer
    runner: ExperimentRunner
    stop: StopOnSignal
    progress: Progress
    last: dict[str, float]
    summaries: GroupedSummaries

    @property
    def step(self) -> int:
        """Training steps done."""
        return int(self.trainer.global_step.numpy())


def build_trainer(job: Job, task: base_task.Task, step: int) -> Trainer:
    """Returns the trainer of a job; to be called in the strategy's scope.

    Raises:
        UserError: what is best is not known.
    """
    model = task.build_model()
    return Trainer(
        job.params,
        task,
        model=model,
        optimizer=train_utils.create_optimizer(task, job.params),
        train=job.trains,
        step=step,
        cluster=job.cluster,
        evaluate="eval" in job.mode,
        checkpoint_exporter=best_checkpoint(job.params, job.model_dir),
    )


def build_loop(
    job: Job,
    strategy: tf.distribute.Strategy,
    task: base_task.Task,
    trainer: Trainer,
    checkpoint: str | None = None,
) -> Loop:
    """Returns the loop, after restoring the newest checkpoint if there is one.

    Args:
        job: what was asked for.
        strategy: devices.
        task: Model Garden's.
        trainer: of that task.
        checkpoint: the newest, where it is not in the folder of the job.

    Raises:
        UserError: the checkpoint is of another model.
    """
    progress = Progress(
        trainer,
        job.params.trainer.train_steps,
        job.params.task.train_data.global_batch_size,
        job.model_dir,
        job.stream,
    )
    several = not job.cluster.is_one
    stop = StopOnSignal(job.stream, job.cluster.exchange if several else None)
    trainer.stops, trainer.all_stop = stop.is_requested, stop.is_agreed
    last: dict[str, float] = {}

    def remember(output: dict[str, Any]) -> None:
        last.update({k: float(v) for k, v in output.items() if tf.rank(v) == 0})

    summaries, validation_summaries = (
        grouped_summaries(job.params, folder, trainer.global_step)
        for folder in job.event_folders
    )
    actions: list[Callable[[dict[str, Any]], None]] = [job.check_present]
    actions.append(progress.on_train)
    if job.trains and of_ours(job.params.trainer, "imbalance_interval"):
        actions.append(ImbalancePage(trainer, job.params, summaries))
    actions.append(stop.check)  # last: a run that goes on looks at later steps only
    try:
        runner = ExperimentRunner(
            first=checkpoint,
            distribution_strategy=strategy,
            task=task,
            mode=job.mode,
            params=job.params,
            model_dir=job.model_dir,
            trainer=trainer,
            train_actions=actions if job.trains else None,
            eval_actions=[progress.on_eval, remember],
            summary_manager=summaries,
            eval_summary_manager=validation_summaries,
            enable_async_checkpointing=job.async_checkpoints,
        )
    except ValueError as error:
        if "shape" not in str(error):
            raise
        raise UserError(
            f"{job.model_dir} holds checkpoints of another model ({error}); give "
            "another folder, or remove it"
        ) from error
    return Loop(strategy, task, trainer, runner, stop, progress, last, summaries)
