"""Runs experiments: the body of the train binary and of `libra train`."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from official.core import task_factory

import libra_tf.tasks  # noqa: F401  (registration)
from libra_tf.errors import UserError
from libra_tf.experiments.lost_objects import lost_objects
from libra_tf.experiments.saved import PARAMS_FILE, dump_params
from libra_tf.experiments.stock import is_libra_experiment
from libra_tf.files.atomic import make_folder, write_text
from libra_tf.files.disk import named_disk_errors, require_space
from libra_tf.files.lock import locked_run
from libra_tf.training.check_records import check_records
from libra_tf.training.checkpoints import refuse_not_finite, size_in_bytes
from libra_tf.training.data_errors import named_data_errors
from libra_tf.training.failed_step import NonFiniteStep, write_dump
from libra_tf.training.loop import Job, Loop, build_loop, build_trainer
from libra_tf.training.memory_errors import named_memory_errors
from libra_tf.training.prepare import prepare
from libra_tf.training.progress import cut_metrics, last_evaluation
from libra_tf.training.resume import Start, check_complete, check_settings, find_start
from libra_tf.training.run_report import describe_run
from libra_tf.training.stop import Preempted, StopTraining

LOG_FILE = "orbit.log"


def run(
    params: Any,
    mode: str,
    model_dir: str,
    *,
    async_checkpoints: bool = True,
    stream: TextIO | None = None,
) -> dict[str, float]:
    """Trains and evaluates as `mode` says.

    Writes to `model_dir`: params.yaml, checkpoints, best_ckpt/, TensorBoard events
    under train/ and validation/, metrics.jsonl and orbit.log.

    Args:
        params: experiment; resolved and locked here.
        mode: "train", "eval", "train_and_eval" or "continuous_eval".
        model_dir: output folder; a run found there is resumed.
        async_checkpoints: write checkpoints beside training.
        stream: for progress lines; standard output by default.

    Returns:
        The last line of evaluation metrics; empty in mode "train".

    Raises:
        UserError: a setting, the data or the checkpoints are at fault.
        KeyboardInterrupt: stopped by Ctrl-C, or by SIGTERM (then it is `Preempted`),
            after saving a checkpoint.
    """
    job = Job(params, mode, model_dir, async_checkpoints, stream or sys.stdout)
    with named_disk_errors():
        if not job.trains:
            make_folder(model_dir)
            return _run(job, Start(model_dir))
        with locked_run(model_dir):
            return _run(job, find_start(model_dir))


def _run(job: Job, start: Start) -> dict[str, float]:
    strategy = prepare(job.params, start.step)
    if job.trains:
        check_settings(job.params, job.model_dir, PARAMS_FILE)
        for line in start.tidy():
            job.tell(line)
    for line in check_records(job.params, job.data):
        job.tell(line)
    with strategy.scope():
        task = task_factory.get_task(job.params.task, logging_dir=job.model_dir)
        trainer = build_trainer(job, task)
    needed = size_in_bytes(trainer.checkpoint)
    require_space(job.model_dir, needed if job.trains else 0)
    with (
        _orbit_log(job.model_dir),
        named_data_errors(job.params, job.data),
        named_memory_errors(job.params),
        named_disk_errors(needed),
    ):
        loop = build_loop(job, strategy, task, trainer)
        _begin(job, loop)
        if job.trains:
            _run_until_signal(job, loop)
        else:
            loop.runner.run()
        last = loop.last
        if job.mode == "train_and_eval" and not last:
            last = _evaluate_once(job, loop)
    if job.trains and trainer.checkpoint_exporter:
        _tell_best(job, loop)
    return last


def _begin(job: Job, loop: Loop) -> None:
    """Checks what was restored, keeps the settings, and tells what will run."""
    step, steps = loop.step, job.params.trainer.train_steps
    latest = loop.runner.checkpoint_manager.latest_checkpoint if step else None
    if latest:
        check_complete(latest, loop.trainer.model)
    if job.trains:
        write_text(pathlib.Path(job.model_dir, PARAMS_FILE), [dump_params(job.params)])
    job.tell(
        describe_run(
            job.params,
            loop.strategy,
            loop.task,
            loop.trainer.model,
            latest,
            step,
            job.model_dir,
        )
    )
    if is_libra_experiment(job.params):
        for line in lost_objects(job.params.task, job.trains, job.mode != "train"):
            job.tell(line)
    if job.trains and step >= steps:
        job.tell(
            f"already at step {step} of {steps}: nothing to train (raise "
            "trainer.train_steps to go on)"
        )
    elif job.trains:
        job.tell("the first steps take long: they are compiled")


def _run_until_signal(job: Job, loop: Loop) -> None:
    trials = max(job.params.trainer.recovery_max_trials, 0)
    while True:
        try:
            with loop.stop:
                loop.runner.run()
            return
        except NonFiniteStep:
            _keep_failed_step(job, loop, trials)
            trials -= 1
        except StopTraining:
            # Between two intervals too, where the manager would skip it.
            path = loop.runner.checkpoint_manager.save(
                checkpoint_number=loop.step, check_interval=False
            )
            job.tell(
                f"stopped at step {loop.step}, saved {path}; run the same command to "
                "go on"
            )
            raise (Preempted if loop.stop.preempted else KeyboardInterrupt) from None


def _keep_failed_step(job: Job, loop: Loop, trials: int) -> None:
    """Dumps the step that was not finite, and goes back to the newest checkpoint.

    Raises:
        UserError: no trial is left.
    """
    failed = loop.trainer.take_failed()
    folder = write_dump(failed, loop.trainer.model, job.model_dir)
    text = f"{failed}; its batch and weights are in {folder} (`libra replay {folder}`)"
    if not trials:
        raise UserError(
            f"{text}; nothing was saved since the last checkpoint. Lower the learning "
            "rate, clip gradients, look for degenerate boxes with `libra data info`, "
            "or set trainer.recovery_max_trials to go back and leave such batches out"
        )
    checkpoint = loop.runner.go_back()
    if checkpoint is None:
        # The step left the weights as they were, but not what BatchNorm has seen.
        refuse_not_finite(loop.trainer.checkpoint)
    cut_metrics(job.model_dir, loop.step)
    job.tell(
        f"{text}; going on from {checkpoint or 'there'} without this batch "
        f"(trainer.recovery_max_trials: {trials - 1} left)"
    )


def _evaluate_once(job: Job, loop: Loop) -> dict[str, float]:
    """A run that was killed between its last step and the evaluation gets that."""
    known = last_evaluation(job.model_dir, loop.step)
    if known is not None:
        return known
    with loop.trainer.strategy.scope():
        loop.runner.controller.evaluate(steps=job.params.trainer.validation_steps)
    return loop.last


def _tell_best(job: Job, loop: Loop) -> None:
    exporter = loop.trainer.checkpoint_exporter
    if exporter.has_best:
        best = exporter.best_ckpt_logs
        name = job.params.trainer.best_checkpoint_eval_metric
        job.tell(f"best {name} {float(best[name]):.3f}: {job.best_folder}")


@contextlib.contextmanager
def _orbit_log(folder: str) -> Iterator[None]:
    """Orbit prints its own lines; they go to a file beside the metrics."""
    with (
        open(os.path.join(folder, LOG_FILE), "a", encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
    ):
        yield
