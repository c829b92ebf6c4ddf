"""Looks into the records of a run before any model is built.

An empty or missing file, or labels that the detector has no output for, would else show
after minutes of building, or never: Model Garden trains on a class that is out of range
as on none.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
from official.core.input_reader import match_files

from libra_tf.data.record_checks import labels, parse, picture_problem, source_id
from libra_tf.data.record_reader import RecordFault, read_records
from libra_tf.errors import UserError

# Records that are looked at, of each of the training's and the evaluation's files.
NUM_CHECKED = 100


def check_records(params: Any, names: Sequence[str]) -> list[str]:
    """Refuses records that a run cannot use; returns a line for each empty file.

    Args:
        params: a resolved experiment.
        names: "train_data", "validation_data" or both.

    Raises:
        UserError: no file, no record, a damaged one, or a label out of range among the
            first `NUM_CHECKED`.
    """
    lines: list[str] = []
    for name in names:
        data = getattr(params.task, name)
        if not reads_records(data):
            continue
        field = f"task.{name}.input_path"
        files = _files(data.input_path, field)
        empty = [file for file in files if next(read_records(file), None) is None]
        if len(empty) == len(files):
            raise UserError(
                f"{field}: 0 examples in {data.input_path} ({len(files)} files, all "
                "empty); convert the data again"
            )
        lines += [f"0 examples in {file}, of {len(files)} files" for file in empty]
        classes = getattr(getattr(params.task, "model", None), "num_classes", 0)
        _check_labels(files, classes)
    return lines


def reads_records(data: Any) -> bool:
    """Whether settings of data name TFRecord files."""
    path, kind = data.input_path, getattr(data, "file_type", "tfrecord")
    return bool(path) and kind == "tfrecord" and isinstance(path, str | list | tuple)


def first_fault(params: Any, names: Sequence[str]) -> RecordFault | None:
    """Returns the first record of a run that cannot be read, decoded or parsed.

    Args:
        params: an experiment whose training or evaluation has failed on its data.
        names: see `check_records`.
    """
    for name in names:
        data = getattr(params.task, name)
        if reads_records(data):
            for file in _files(data.input_path, f"task.{name}.input_path"):
                for number, content in read_records(file):
                    problem = _problem(content)
                    if problem:
                        return RecordFault(file, number, problem)
    return None


def _problem(content: bytes | RecordFault) -> str | None:
    if isinstance(content, RecordFault):
        return content.text
    features = parse(content)
    if features is None:
        return "it is no tf.train.Example"
    problem = picture_problem(features)
    return f"image {source_id(features)}: {problem}" if problem else None


def _files(path: str | Sequence[str], field: str) -> list[str]:
    try:
        files = sorted(match_files(path))
    except ValueError:
        files = []
    missing = [file for file in files if not tf.io.gfile.exists(file)]
    if missing or not files:
        raise UserError(
            f"{field}: no file matches {missing[0] if missing else path}; convert the "
            "data, or mend the setting"
        )
    return files


def _records(files: Sequence[str]) -> Iterator[tuple[str, int, bytes | RecordFault]]:
    for file in files:
        for number, content in read_records(file):
            yield file, number, content


def _check_labels(files: Sequence[str], num_classes: int) -> None:
    for file, number, content in itertools.islice(_records(files), NUM_CHECKED):
        if isinstance(content, RecordFault):
            raise UserError(f"{content}; convert the data again")
        features = parse(content)
        if features is None or not num_classes:
            continue
        for label in labels(features):
            if not 0 < label < num_classes:
                raise UserError(
                    f"{file}: record {number} (source id {source_id(features)!r}): "
                    f"class {label}, but task.model.num_classes is {num_classes}, so "
                    f"classes are 1 to {num_classes - 1} (0 is the background); raise "
                    "it, or convert the data again"
                )
