"""Runs experiments: the body of the train binary and of `libra train`."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import tensorflow as tf
from official.core import task_factory

import libra_tf.tasks  # noqa: F401  (registration)
from libra_tf.errors import Terminated, UserError
from libra_tf.experiments.saved import PARAMS_FILE, dump_params
from libra_tf.experiments.stock import is_libra_experiment
from libra_tf.files.atomic import make_folder, write_text
from libra_tf.files.disk import named_disk_errors, require_space
from libra_tf.files.lock import locked_run
from libra_tf.files.names import refuse_patterns
from libra_tf.inputs.data_errors import named_data_errors
from libra_tf.training.checkpoints import refuse_not_finite, size_in_bytes
from libra_tf.training.cluster import named_lost_workers, read_place
from libra_tf.training.failed_step import FailedStep, NonFiniteStep, write_dump
from libra_tf.training.later_steps import cut_later_steps
from libra_tf.training.loop import ORBIT_LOG, Job, Loop, build_loop, build_trainer
from libra_tf.training.memory_errors import named_memory_errors
from libra_tf.training.metrics_file import last_evaluation
from libra_tf.training.prepare import prepare
from libra_tf.training.progress import NOT_FINITE_CURE
from libra_tf.training.ready import check, make_ready
from libra_tf.training.resume import Start, check_complete, find_newest, find_start
from libra_tf.training.run_report import describe_run
from libra_tf.training.settings_summary import write_settings
from libra_tf.training.stop import StopTraining
from libra_tf.training.tags import tag_of
from libra_tf.training.together import joined


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
        KeyboardInterrupt: stopped by Ctrl-C, or by SIGTERM (then it is `Terminated`),
            after saving a checkpoint.
    """
    job = Job(params, mode, model_dir, async_checkpoints, stream or sys.stdout)
    refuse_patterns(model_dir)
    place = read_place(params.runtime.distribution_strategy)
    if place.count == 1:
        return _run_alone(job)
    with (
        named_lost_workers(place),
        joined(job, place) as (job, start, strategy),
        named_disk_errors(folder=job.model_dir),
    ):
        return _run(job, start, strategy)


def _run_alone(job: Job) -> dict[str, float]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(named_disk_errors(folder=job.model_dir))
        if job.trains:
            stack.enter_context(locked_run(job.model_dir))
            start = find_start(job.model_dir)
        else:
            make_folder(job.model_dir)
            start = find_newest(job.model_dir)
        return _run(job, start, prepare(job.params))


def _run(job: Job, start: Start, strategy: tf.distribute.Strategy) -> dict[str, float]:
    with job.cluster.together():
        notes = check(job, start)
    with strategy.scope():
        task = task_factory.get_task(job.params.task, logging_dir=job.model_dir)
        trainer = build_trainer(job, task, start.step)
    needed = size_in_bytes(trainer.checkpoint)
    with job.cluster.together():
        require_space(job.model_dir, needed if job.trains else 0)
        if start.checkpoint:
            check_complete(start.checkpoint, trainer.model)
    # Last: where the run is refused, its folder is as it was.
    make_ready(job, start)
    with (
        _orbit_log(job.model_dir),
        named_data_errors(job.params, job.data),
        named_memory_errors(job.params),
        named_disk_errors(needed, job.model_dir),
    ):
        loop = build_loop(job, strategy, task, trainer, start.checkpoint)
        _begin(job, loop, notes)
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


def _begin(job: Job, loop: Loop, notes: list[str]) -> None:
    """Keeps the settings, and tells what will run, with `notes` on the data."""
    step, steps = loop.step, job.params.trainer.train_steps
    latest = loop.runner.checkpoint_manager.latest_checkpoint if step else None
    if latest and not job.trains:
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
    for line in notes:
        job.tell(line)
    if job.trains and step >= steps:
        job.tell(
            f"already at step {step} of {steps}: nothing to train (raise "
            "trainer.train_steps to go on)"
        )
    elif job.trains:
        job.tell("the first steps take long: they are compiled")
    if job.trains and step == 0 and is_libra_experiment(job.params):
        _write_settings(job, loop)


def _write_settings(job: Job, loop: Loop) -> None:
    trainer = job.params.trainer
    metric = trainer.best_checkpoint_eval_metric or "AP"
    with loop.summaries.summary_writer().as_default():
        write_settings(
            job.params,
            step=0,
            metric=tag_of(metric) or metric,
            group=f"../{trainer.validation_summary_subdir}",
        )


def _run_until_signal(job: Job, loop: Loop) -> None:
    trials = max(job.params.trainer.recovery_max_trials, 0)
    while True:
        try:
            with loop.stop:
                loop.runner.run()
                loop.runner.finish_saves()
            job.check_present()
            return
        except NonFiniteStep as error:
            _keep_failed_step(job, loop, error.failed, trials)
            trials -= 1
        except StopTraining:
            job.tell(_stopped(loop))
            raise (Terminated if loop.stop.terminated else KeyboardInterrupt) from None


def _stopped(loop: Loop) -> str:
    if loop.step == 0:
        return "stopped before the first step; there is nothing to save"
    path = loop.runner.save_now()
    return f"stopped at step {loop.step}, saved {path}; run the same command to go on"


def _keep_failed_step(job: Job, loop: Loop, failed: FailedStep, trials: int) -> None:
    """Dumps the step that was not finite, and goes back to the newest checkpoint.

    Raises:
        UserError: no trial is left.
    """
    text = f"{failed}; {_dump(job, loop, failed)}"
    if not trials:
        raise UserError(
            f"{text}; {NOT_FINITE_CURE}, or set trainer.recovery_max_trials to go back "
            "and leave such batches out"
        )
    checkpoint = loop.runner.go_back()
    if checkpoint is None:
        # The step left the weights as they were, but not what BatchNorm has seen.
        refuse_not_finite(loop.trainer.checkpoint)
    for line in cut_later_steps(job.model_dir, job.event_folders, loop.step):
        job.tell(line)
    loop.progress.go_back()
    job.tell(
        f"{text}; going on from {checkpoint or 'there'} without this batch "
        f"(trainer.recovery_max_trials: {trials - 1} left)"
    )


def _dump(job: Job, loop: Loop, failed: FailedStep) -> str:
    try:
        with named_disk_errors():
            folder = write_dump(failed, loop.trainer.model, job.model_dir)
    except UserError as fault:
        return f"its batch could not be kept ({fault})"
    if not job.cluster.is_chief:
        return "worker 0 tells where its batches are"
    return f"its batch and weights are in {folder} (`libra replay {folder}`)"


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
        step = "" if exporter.best_step is None else f" at step {exporter.best_step}"
        job.tell(f"best {name} {float(best[name]):.3f}{step}: {job.best_folder}")


@contextlib.contextmanager
def _orbit_log(folder: str) -> Iterator[None]:
    """Orbit prints its own lines; they go to a file beside the metrics."""
    with (
        open(os.path.join(folder, ORBIT_LOG), "a", encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
    ):
        yield
