"""Runs an experiment: the body of the train binary and of `libra train`."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
from typing import Any, TextIO

import tensorflow as tf
from official.core import task_factory, train_lib, train_utils
from official.vision.utils import summary_manager

import libra_tf.tasks  # noqa: F401  (registration)
from libra_tf.errors import UserError
from libra_tf.experiments.saved import dump_params
from libra_tf.files.atomic import make_folder, write_text
from libra_tf.files.lock import locked_run
from libra_tf.training.prepare import prepare
from libra_tf.training.progress import Progress, last_evaluation
from libra_tf.training.resume import (
    check_complete,
    check_settings,
    step_to_resume,
)
from libra_tf.training.run_report import describe_run
from libra_tf.training.stop import StopOnSignal, StopTraining
from libra_tf.training.trainer import Trainer

PARAMS_FILE = "params.yaml"
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
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM, after saving a checkpoint.
    """
    stream = stream or sys.stdout
    make_folder(model_dir)
    if "train" not in mode:
        return _run(params, mode, model_dir, 0, async_checkpoints, stream)
    with locked_run(model_dir):
        step = step_to_resume(model_dir)
        return _run(params, mode, model_dir, step, async_checkpoints, stream)


def _run(
    params: Any,
    mode: str,
    model_dir: str,
    step: int,
    async_checkpoints: bool,
    stream: TextIO,
) -> dict[str, float]:
    strategy = prepare(params, step)
    training = "train" in mode
    if training:
        check_settings(params, model_dir, PARAMS_FILE)
    with strategy.scope():
        task = task_factory.get_task(params.task, logging_dir=model_dir)
        trainer = _build_trainer(params, task, mode, model_dir)
    progress = Progress(
        trainer,
        params.trainer.train_steps,
        params.task.train_data.global_batch_size,
        model_dir,
        stream,
    )
    last: dict[str, float] = {}
    stop = StopOnSignal(stream)
    with _orbit_log(model_dir), _named_data_errors(params):
        runner = _build_runner(
            strategy, task, mode, params, model_dir, trainer, progress, last,
            stop, async_checkpoints,
        )  # fmt: skip
        step = int(trainer.global_step.numpy())
        latest = runner.checkpoint_manager.latest_checkpoint if step else None
        if latest:
            check_complete(latest, trainer.model)
        if training:
            write_text(pathlib.Path(model_dir, PARAMS_FILE), [dump_params(params)])
        block = describe_run(
            params, strategy, task, trainer.model, latest, step, model_dir
        )
        print(block, file=stream, flush=True)
        if training and step >= params.trainer.train_steps:
            print(
                f"already at step {step} of {params.trainer.train_steps}: nothing to "
                "train (raise trainer.train_steps to go on)",
                file=stream,
            )
        if training and step < params.trainer.train_steps:
            print("the first steps take long: they are compiled", file=stream)
        if training:
            _run_until_signal(runner, trainer, stop, stream)
        else:
            runner.run()
        if mode == "train_and_eval" and not last:
            last = _evaluate_once(runner, params, trainer, model_dir, last)
    if training and trainer.checkpoint_exporter:
        _tell_best(trainer, params.trainer, model_dir, stream)
    return last


def _tell_best(trainer, config, model_dir, stream) -> None:
    best = trainer.checkpoint_exporter.best_ckpt_logs
    if best:
        name = config.best_checkpoint_eval_metric
        folder = os.path.join(model_dir, config.best_checkpoint_export_subdir)
        print(f"best {name} {float(best[name]):.3f}: {folder}", file=stream)


@contextlib.contextmanager
def _named_data_errors(params: Any):
    """TensorFlow names neither file nor record of what it cannot read."""
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        text = str(error)
        damaged = isinstance(error, tf.errors.DataLossError)
        if not damaged and "jpeg" not in text.lower() and "png" not in text.lower():
            raise
        files = [params.task.train_data.input_path]
        files.append(params.task.validation_data.input_path)
        line = next((x for x in text.splitlines() if "record" in x or "mage" in x), "")
        raise UserError(
            f"a record in {' or '.join(map(str, files))} is damaged ({line.strip()}); "
            "convert the data again"
        ) from error


def _run_until_signal(runner, trainer, stop, stream) -> None:
    try:
        with stop:
            runner.run()
    except StopTraining:
        step = int(trainer.global_step.numpy())
        # Between two intervals too, where the manager would skip it.
        path = runner.checkpoint_manager.save(
            checkpoint_number=step, check_interval=False
        )
        print(
            f"stopped at step {step}, saved {path}; run the same command to go on",
            file=stream,
            flush=True,
        )
        raise KeyboardInterrupt from None


def _evaluate_once(runner, params, trainer, model_dir, last) -> dict[str, float]:
    """A run that was killed between its last step and the evaluation gets that."""
    known = last_evaluation(model_dir, int(trainer.global_step.numpy()))
    if known is None:
        with trainer.strategy.scope():
            runner.controller.evaluate(steps=params.trainer.validation_steps)
    return known or last


def _build_trainer(params: Any, task: Any, mode: str, model_dir: str) -> Trainer:
    try:
        exporter = train_lib.maybe_create_best_ckpt_exporter(params, model_dir)
    except ValueError as error:
        folder = os.path.join(model_dir, params.trainer.best_checkpoint_export_subdir)
        raise UserError(
            f"{folder}/info.json is damaged ({error}); remove it, and the next "
            "evaluation writes it again"
        ) from error
    model = task.build_model()
    return Trainer(
        params,
        task,
        model=model,
        optimizer=train_utils.create_optimizer(task, params),
        train="train" in mode,
        evaluate="eval" in mode,
        checkpoint_exporter=exporter,
    )


def _build_runner(
    strategy, task, mode, params, model_dir, trainer, progress, last, stop,
    async_checkpoints,
):  # fmt: skip
    def remember(output):
        last.update({k: float(v) for k, v in output.items() if tf.rank(v) == 0})

    try:
        return train_lib.OrbitExperimentRunner(
            distribution_strategy=strategy,
            task=task,
            mode=mode,
            params=params,
            model_dir=model_dir,
            trainer=trainer,
            train_actions=[progress.on_train, stop.check] if "train" in mode else None,
            eval_actions=[progress.on_eval, remember],
            eval_summary_manager=summary_manager.maybe_build_eval_summary_manager(
                params=params, model_dir=model_dir
            ),
            enable_async_checkpointing=async_checkpoints,
        )
    except ValueError as error:
        if "shape" not in str(error):
            raise
        raise UserError(
            f"{model_dir} holds checkpoints of another model ({error}); give another "
            "folder, or remove it"
        ) from error


@contextlib.contextmanager
def _orbit_log(folder: str):
    """Orbit prints its own lines; they go to a file beside the metrics."""
    with (
        open(os.path.join(folder, LOG_FILE), "a", encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
    ):
        yield
