"""Turns an experiment as written into one that can run, or says why it cannot."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from libra_tf.data.manifest import Manifest, load_manifest
from libra_tf.errors import UserError
from libra_tf.experiments.contradictions import check_experiment
from libra_tf.experiments.fields import check_fields
from libra_tf.experiments.lost_objects import raise_instances
from libra_tf.experiments.task_config import (
    ExperimentConfig,
    MaskRCNNTask,
    RetinaNetTask,
)
from libra_tf.files.json_files import read_json
from libra_tf.files.names import refuse_signs


def resolve(params: ExperimentConfig) -> None:
    """Fills in what follows from other settings, then checks the whole.

    From `task.dataset` follow the record files, the evaluation JSON, the class names,
    `task.model.num_classes` and room for all objects of an image
    (`parser.max_num_instances`, where it has its default); from
    `trainer.reference_batch_size` the learning rates. Doing it twice changes nothing,
    so a saved config can be read again.

    Args:
        params: an experiment of this package, unlocked; changed in place.

    Raises:
        UserError: a setting is missing, wrong or contradicts another.
    """
    check_fields(params)
    if params.task.dataset:
        _fill_in_dataset(params.task, load_manifest(params.task.dataset))
    if params.task.model.num_classes < 2:
        raise UserError(
            "task.model.num_classes is not set: give task.dataset (a folder written by "
            "`libra data convert`), or set it to the highest class id plus one"
        )
    _check_annotation_file(params.task)
    _scale_learning_rate(params)
    check_experiment(params)


def _fill_in_dataset(task: MaskRCNNTask | RetinaNetTask, manifest: Manifest) -> None:
    refuse_signs(manifest.folder, ",*?[", "Model Garden cannot read from")
    task.dataset = manifest.folder
    for split_name, data in (
        (task.train_split, task.train_data),
        (task.validation_split, task.validation_data),
    ):
        if not data.input_path:
            _check_masks(task, manifest, split_name)
            data.input_path = manifest.split(split_name).tfrecords
    raise_instances(task, manifest)
    if not task.annotation_file:
        split = manifest.split(task.validation_split)
        task.annotation_file = split.annotation_file
    given = task.model.num_classes
    if given not in (0, manifest.num_classes):
        raise UserError(
            f"task.model.num_classes is {given}, but {manifest.folder} has class ids "
            f"up to {manifest.num_classes - 1}, so it must be {manifest.num_classes} "
            "(id 0 is the background); leave it out and it is taken from the data set"
        )
    task.model.num_classes = manifest.num_classes
    names = _names_by_position(manifest.class_names, manifest.num_classes)
    if task.class_names and list(task.class_names) != names:
        raise UserError(
            f"{manifest.folder} has the classes {', '.join(names[1:])}; the detector "
            f"was trained for {', '.join(task.class_names[1:])}"
        )
    task.class_names = names


def _names_by_position(names: dict[int, str], num_classes: int) -> list[str]:
    return ["background"] + [names.get(i, "") for i in range(1, num_classes)]


def _check_masks(
    task: MaskRCNNTask | RetinaNetTask, manifest: Manifest, split: str
) -> None:
    if task.model.include_mask and not manifest.split(split).masks:
        raise UserError(
            f"{manifest.folder}: split {split} was converted without masks; convert "
            "it again with --masks, or use a Faster R-CNN experiment"
        )


def _check_annotation_file(task: MaskRCNNTask | RetinaNetTask) -> None:
    path = task.annotation_file
    if not path:
        return
    if "://" not in path and not os.path.isfile(path):
        raise UserError(
            f"task.annotation_file: {path} does not exist; it is the COCO JSON of the "
            "validation split (leave it empty to collect it from the records)"
        )
    if task.class_names or "://" in path:
        return
    content = read_json(path)
    try:
        names = {int(c["id"]): str(c["name"]) for c in content["categories"]}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a COCO annotation file ({error})") from error
    highest = max(names, default=0)
    if highest >= task.model.num_classes:
        raise UserError(
            f"{path}: category id {highest} needs task.model.num_classes "
            f"{highest + 1}, which is {task.model.num_classes}"
        )
    task.class_names = _names_by_position(names, task.model.num_classes)


def _scale_learning_rate(params: ExperimentConfig) -> None:
    """Multiplies every learning rate by batch size / reference batch size."""
    reference = params.trainer.reference_batch_size
    batch_size = params.task.train_data.global_batch_size
    if not reference or reference == batch_size:
        return
    factor = batch_size / reference
    schedules = params.trainer.optimizer_config
    for schedule in (schedules.learning_rate.get(), schedules.warmup.get()):
        for field in _learning_rate_fields(schedule):
            value = getattr(schedule, field)
            scaled = (
                [v * factor for v in value]
                if isinstance(value, list | tuple)
                else value * factor
            )
            setattr(schedule, field, scaled)
    params.trainer.reference_batch_size = batch_size


def _learning_rate_fields(schedule: Any) -> list[str]:
    if schedule is None:
        return []
    names = [field.name for field in dataclasses.fields(schedule)]
    rates = [n for n in names if n == "values" or n.endswith("learning_rate")]
    return [n for n in rates if getattr(schedule, n) is not None]
