"""Loads a run for measuring: the same images for every run, whatever its seed."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tf_keras
from official.core import task_factory
from official.modeling import performance

import libra_tf.tasks  # noqa: F401  (registration)
from libra_tf.errors import UserError
from libra_tf.experiments.resolve import resolve
from libra_tf.experiments.saved import load_run
from libra_tf.inputs.check_records import check_records
from libra_tf.inputs.data_errors import named_data_errors
from libra_tf.inputs.one_order import one_by_one
from libra_tf.weights.find_checkpoint import RunCheckpoint, find_checkpoint
from libra_tf.weights.restore import checkpoint_path, restore_all

# All candidates of an image go through the head at once.
_MOST_IMAGES_AT_A_TIME = 4
DATA = ("train_data",)


@dataclasses.dataclass(frozen=True)
class LoadedRun:
    """A detector with its weights, and batches of its training pipeline."""

    checkpoint: str
    params: Any
    task: Any
    model: tf_keras.Model
    batches: tf.data.Dataset


@contextlib.contextmanager
def open_run(
    run_dir: str,
    *,
    checkpoint: str | None = None,
    data: str | None = None,
    split: str | None = None,
    images: int,
    seed: int,
) -> Iterator[LoadedRun]:
    """Builds the detector of a run, loads its weights and opens its training data.

    Training augmentation is on, records come in the order of the files. The run's
    precision is in force within the context; no devices are set up.

    Args:
        run_dir: folder of a run; its best checkpoint if it has one, else the newest.
        checkpoint: prefix of another checkpoint.
        data: another folder of `libra data convert`.
        split: another split than the run was trained on.
        images: how many images the batches hold together.
        seed: of the augmentation.

    Raises:
        UserError: there is no checkpoint, no such data, they do not fit, or a record is
            damaged, also while the batches are read.
    """
    if images < 1:
        raise UserError(f"the number of images is {images}; give 1 or more")
    found = _find(run_dir, checkpoint)
    params = found.params
    _choose_data(params, data, split)
    _choose_images(params, images, seed)
    check_records(params, DATA)
    before = tf_keras.mixed_precision.global_policy()
    if params.runtime.mixed_precision_dtype:
        performance.set_mixed_precision_policy(params.runtime.mixed_precision_dtype)
    try:
        task = task_factory.get_task(params.task)
        model = task.build_model()
        restore_all(found.path, {"model": model})
        batches = _batches(task, params, images, seed)
        with named_data_errors(params, DATA):
            yield LoadedRun(found.path, params, task, model, batches)
    finally:
        tf_keras.mixed_precision.set_global_policy(before)


def _find(run_dir: str, checkpoint: str | None) -> RunCheckpoint:
    if checkpoint is None:
        return find_checkpoint(run_dir)
    return RunCheckpoint(checkpoint_path(checkpoint), load_run(run_dir))


def _choose_data(params: Any, data: str | None, split: str | None) -> None:
    task = params.task
    if not data and not split:
        return
    task.dataset = data or task.dataset
    if not task.dataset:
        raise UserError(
            "another split needs --data: the run was not trained on a data set"
        )
    task.train_split = split or task.train_split
    # Nothing is evaluated, so the data set need not have a validation split.
    task.validation_split = task.train_split
    task.train_data.input_path = task.validation_data.input_path = ""
    task.annotation_file = ""


def _choose_images(params: Any, images: int, seed: int) -> None:
    data = params.task.train_data
    data.seed = seed
    # Model Garden repeats the records before it shuffles them: small data would come
    # twice before it has come once.
    data.shuffle_buffer_size = 1
    most = min(data.global_batch_size, _MOST_IMAGES_AT_A_TIME)
    # A divisor: no last, smaller batch that TensorFlow would compile once more.
    data.global_batch_size = max(n for n in range(1, most + 1) if images % n == 0)
    params.trainer.reference_batch_size = 0  # learning rates do not matter
    resolve(params)


def _batches(task: Any, params: Any, images: int, seed: int) -> tf.data.Dataset:
    tf_keras.utils.set_random_seed(seed)
    dataset = one_by_one(task.build_inputs(params.task.train_data))
    return dataset.take(images // params.task.train_data.global_batch_size)
