"""A detector behind one call, from a checkpoint or from a SavedModel."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from libra_tf.data.manifest import file_ids_of
from libra_tf.data.records import FileId
from libra_tf.errors import UserError, cause_of
from libra_tf.evaluation.batches import ImageDetections, rows
from libra_tf.experiments.stock import of_ours
from libra_tf.experiments.task_config import names_by_id
from libra_tf.files.json_files import read_json
from libra_tf.files.names import refuse_patterns
from libra_tf.inference.saved_model_scan import check_ops
from libra_tf.inference.serving import DESCRIPTION, build_module
from libra_tf.inference.signature import input_of
from libra_tf.weights.find_checkpoint import find_checkpoint
from libra_tf.weights.restore import restore_all

Serve = Callable[..., Mapping[str, tf.Tensor]]


class Detector:
    """Detects objects in single images.

    Args:
        serve: maps `inputs` [1, H, W, 3] uint8 to Model Garden's detection outputs.
        class_names: category id to name.
        source: where the weights come from.
        owner: object that holds what `serve` uses, if `serve` refers to it weakly.
        file_ids: category id to the id that the data set's source has for it, where
            that is another.
    """

    def __init__(
        self,
        serve: Serve,
        class_names: dict[int, str],
        source: str,
        owner: object = None,
        file_ids: Mapping[int, FileId] | None = None,
    ):
        self._serve, self._owner = serve, owner
        self.file_ids = dict(file_ids or {})
        self.class_names = class_names
        self.source = source

    def detect(self, image: np.ndarray) -> ImageDetections:
        """Returns the detections in one image, in its own pixels.

        Args:
            image: [H, W, 3] uint8, RGB.

        Returns:
            Boxes [K, 4] `yxyx` in pixels of `image`, classes, scores, and masks as
            run-length encodings for a detector that has them.

        Raises:
            UserError: the detector, which may be another's program, fails on it.
        """
        try:
            outputs = self._serve(inputs=tf.constant(image[np.newaxis]))
        except tf.errors.InvalidArgumentError as error:
            height, width = image.shape[:2]
            raise UserError(
                f"{self.source} fails on a picture of {width}x{height}: "
                f"{cause_of(error)}"
            ) from error
        arrays = {name: value.numpy() for name, value in outputs.items()}
        arrays["source_id"] = np.array([0])
        ((_, detections),) = rows(arrays, set())
        return detections


def load_detector(path: str, *, newest: bool = False, trust: bool = False) -> Detector:
    """Loads a SavedModel folder, the folder of a run, or a checkpoint prefix.

    A SavedModel is a program: one that can reach files or processes is loaded only with
    `trust`.

    Raises:
        UserError: there is nothing of the kind at `path`, or it is not trusted.
    """
    refuse_patterns(path)
    is_run = tf.train.latest_checkpoint(path) is not None
    for folder in () if is_run else (path, os.path.join(path, "saved_model")):
        if os.path.isfile(os.path.join(folder, "saved_model.pb")):
            if newest:
                raise UserError(f"{folder}: a SavedModel has no newest checkpoint")
            if not trust:
                check_ops(folder, "if you trust whoever made it, give --trust")
            return _from_saved_model(folder)
    if not os.path.exists(path) and not os.path.exists(f"{path}.index"):
        raise UserError(f"{path}: no such run, checkpoint or SavedModel")
    return _from_checkpoint(path, newest)


def _from_saved_model(folder: str) -> Detector:
    try:
        loaded = tf.saved_model.load(folder)
        serve = loaded.signatures["serving_default"]
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{folder}: not a usable SavedModel ({error})") from error
    name = input_of(serve, folder)
    description = _description(folder)
    return Detector(
        lambda inputs: serve(**{name: inputs}),
        _by_id(description, "class_names", folder),
        folder,
        owner=loaded,
        file_ids=_by_id({"file_ids": {}, **description}, "file_ids", folder),
    )


def _description(folder: str) -> dict[str, Any]:
    path = Path(folder, DESCRIPTION)
    if not path.is_file():
        return {"class_names": {}}
    content = read_json(path)
    return content if isinstance(content, dict) else {}


def _by_id(description: dict[str, Any], field: str, folder: str) -> dict[int, Any]:
    """Returns the names, or what else the description tells of the categories."""
    try:
        return {int(i): _text_or_number(v) for i, v in description[field].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{Path(folder, DESCRIPTION)}: has no {field} by id ({error!r}); export "
            "the model again"
        ) from error


def _text_or_number(value: Any) -> str | int:
    if not isinstance(value, str | int):
        raise TypeError(f"{value!r} is no text or number")
    return value


def _from_checkpoint(path: str, newest: bool) -> Detector:
    found = find_checkpoint(path, newest=newest)
    found.params.lock()
    module = build_module(found.params)
    restore_all(found.path, {"model": module.model})
    return Detector(
        module.get_inference_signatures({"image_tensor": "serve"})["serve"],
        names_by_id(found.params.task),
        found.path,
        owner=module,
        file_ids=file_ids_of(
            of_ours(found.params.task, "dataset"),
            of_ours(found.params.task, "train_split"),
        ),
    )
