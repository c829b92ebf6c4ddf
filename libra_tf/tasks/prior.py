"""How often an anchor is an object: measured, kept, and set as a bias.

Chen et al., "Is Heuristic Sampling Necessary in Training Deep Object Detectors?"
(arXiv 1909.04868): without sampling, a classifier must start from the share of objects.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from official.core import base_task
from official.core.config_definitions import DataConfig

from libra_tf.errors import UserError
from libra_tf.files.atomic import write_text
from libra_tf.files.json_files import read_json
from libra_tf.files.progress_line import ProgressLine
from libra_tf.ops.logits import optimal_bias

# Counts of one batch of labels: positives of each class [C], and labelled anchors.
CountFn = Callable[[dict], tuple[tf.Tensor, tf.Tensor]]


class AnchorPrior(NamedTuple):
    """What one pass over the training data counted.

    Attributes:
        positives: of each class id.
        num_anchors: positives and negatives; ignored anchors do not count.
    """

    positives: list[float]
    num_anchors: float

    @property
    def num_classes(self) -> int:
        """Classes besides the background; 1 for an RPN."""
        return max(len(self.positives) - 1, 1)

    @property
    def probability(self) -> float:
        """Share of positives among the (anchor, class) entries."""
        return sum(self.positives) / (self.num_anchors * self.num_classes)

    @property
    def bias(self) -> float:
        """Logit of `probability`."""
        return optimal_bias(sum(self.positives), self.num_anchors, self.num_classes)

    def thresholds(self, kind: str) -> np.ndarray:
        """Lowest score of each class id that is a detection.

        Args:
            kind: "global_prior", the prior times the classes with the background, as
                released; or "class_prior", that of each class, and for one without
                positives that of all together.
        """
        if kind == "global_prior":
            value = self.probability * (self.num_classes + 1)
            return np.full(len(self.positives), value, np.float32)
        each = np.asarray(self.positives, np.float64) / self.num_anchors
        return np.where(each > 0, each, self.probability).astype(np.float32)


def count_dense(labels: dict, num_classes: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Positives of each class and labelled anchors of a batch of RetinaNet's labels."""
    classes = _joined(labels["cls_targets"])
    # Not one-hot: that would be a number for each class of each anchor.
    positive = tf.math.bincount(
        tf.boolean_mask(classes, classes >= 0),
        minlength=num_classes,
        maxlength=num_classes,
    )
    return positive, tf.math.count_nonzero(labels["cls_weights"] > 0)


def count_rpn(labels: dict) -> tuple[tf.Tensor, tf.Tensor]:
    """As `count_dense`, for RPN labels (one class)."""
    targets = _joined(labels["rpn_score_targets"])
    positive = tf.math.count_nonzero(targets == 1)
    return positive[tf.newaxis], tf.math.count_nonzero(targets >= 0)


def one_pass(params: DataConfig) -> DataConfig:
    """Reads in order, so that `take(n)` yields each of the n records exactly once.

    As set for training, a data set in a few files is read from several copies of each
    file at a time, and its first n images hold some twice and others not at all.
    """
    return params.replace(
        global_batch_size=1, cycle_length=1, shuffle_buffer_size=1, cache=False
    )


def measure_prior(
    dataset: tf.data.Dataset, params: DataConfig, count: CountFn
) -> AnchorPrior:
    """Counts the labels of the training data.

    Args:
        dataset: training batches of `one_pass`, without end.
        params: settings of the training data.
        count: counts one batch.

    Raises:
        UserError: no anchor of the data is an object.
    """
    records = tf.data.TFRecordDataset(_files(params.input_path))
    num_records = int(records.reduce(0, lambda n, _: n + 1))
    # Added up in float64: the anchors of a large data set are more than 2**24.
    positives: np.ndarray = np.zeros(())
    total = 0.0
    progress = ProgressLine("prior of objects, counted once", num_records)
    for _, labels in dataset.take(num_records):
        of_batch, valid = count(labels)
        positives = positives + of_batch.numpy().astype(np.float64)
        total += float(valid)
        progress.step()
    progress.finish()
    if not np.sum(positives):
        raise UserError(
            f"task.model.prior.from_data: no anchor of {params.input_path} is an "
            "object; look at the boxes with `libra data info`, or give "
            "task.model.prior.value"
        )
    return AnchorPrior(positives.tolist(), total)


def cached_prior(
    measure: Callable[[], AnchorPrior], settings: dict, folders: Iterable[str]
) -> AnchorPrior:
    """Returns the prior that a file holds, or measures it and writes the file.

    Args:
        measure: counts.
        settings: all that the count depends on; part of the file's name.
        folders: tried in order for reading, then for writing.
    """
    text = json.dumps(settings, sort_keys=True, default=str)
    name = f"anchor_prior-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
    paths = [
        Path(folder, name) for folder in folders if folder and os.path.isdir(folder)
    ]
    for path in paths:
        if path.is_file():
            return _read(path)
    prior = measure()
    content = json.dumps(
        {
            "foreground": prior.positives,
            "num_anchors": prior.num_anchors,
            "settings": json.loads(text),
        },
        indent=1,
    )
    for path in paths:
        try:
            write_text(path, [content])
        except OSError:  # a folder that may not be written to
            continue
        logging.info("wrote %s", path)
        break
    return prior


def prior_of_task(
    task: base_task.Task, dataset: tf.data.Dataset, count: CountFn, kind: str
) -> AnchorPrior:
    """Returns the prior of a task's training data, counted once for each data set.

    Args:
        task: the task; its data folder, or the run's folder, keeps the count.
        dataset: training batches of `one_pass` with every anchor labelled.
        count: counts one batch.
        kind: what is counted; part of what names the file.
    """
    config = task.task_config
    data, model = config.train_data, config.model
    settings = {
        "kind": kind,
        # Not their folder, which may move; converted again, they have other sizes.
        "records": [
            [os.path.basename(path), tf.io.gfile.stat(path).length]
            for path in _files(data.input_path)
        ],
        "parser": data.parser.as_dict(),
        "num_classes": model.num_classes,
        "input_size": list(model.input_size),
        "levels": [model.min_level, model.max_level],
        "anchor": model.anchor.as_dict(),
        "clip_to_image": model.clip_to_image,
    }
    folders = (config.dataset, task.logging_dir)
    return cached_prior(lambda: measure_prior(dataset, data, count), settings, folders)


def _read(path: Path) -> AnchorPrior:
    try:
        values = read_json(path)
        positives = [float(count) for count in values["foreground"]]
        prior = AnchorPrior(positives, float(values["num_anchors"]))
        if not 0 < prior.probability < 1:
            raise ValueError(f"{sum(positives)} of {prior.num_anchors} anchors")
        return prior
    except (UserError, ArithmeticError, LookupError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}); remove it, and it is counted again"
        ) from error


def _files(input_path: str | Sequence[str]) -> list[str]:
    """Record files of patterns, a list or joined by commas, as Model Garden's."""
    paths = input_path if isinstance(input_path, list | tuple) else [input_path]
    patterns = [part.strip() for path in paths for part in str(path).split(",")]
    found = [sorted(tf.io.gfile.glob(part)) for part in patterns if part]
    return [path for files in found for path in files]


def _joined(levels: dict) -> tf.Tensor:
    """All entries of {level: [B, H, W, A]}, as int32."""
    flat = [tf.cast(tf.reshape(x, [-1]), tf.int32) for x in levels.values()]
    return tf.concat(flat, axis=0)
