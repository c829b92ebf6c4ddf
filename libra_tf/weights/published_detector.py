"""A published detector before it is built: its weights, and what they are for."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from libra_tf.errors import UserError
from libra_tf.experiments.contradictions import check_detector
from libra_tf.experiments.fields import check_fields
from libra_tf.experiments.saved import override, parse_override
from libra_tf.ops.keep_ratio import DEVIATION_RGB, MEAN_RGB
from libra_tf.torch_files.state_dict import StateDict, read_state_dict
from libra_tf.weights.architecture import Architecture, tell_architecture
from libra_tf.weights.averages import Averages, choose_averages
from libra_tf.weights.class_names import choose_class_names
from libra_tf.weights.experiment import experiment_for
from libra_tf.weights.names import IMAGE_STATISTICS, detector_names, image_statistics
from libra_tf.weights.published_shapes import published_shapes
from libra_tf.weights.weight_matching import check_shapes

# OpenMMLab ends the names of its files with a date and the start of their SHA-256.
_PUBLISHED = re.compile(r".*_\d{8}-([0-9a-f]{8})\.pth")
_BLOCK = 2**20


@dataclasses.dataclass(frozen=True)
class PublishedDetector:
    """What a PyTorch file tells about its detector.

    Attributes:
        state: the weights, by their names in the file.
        names: name in the file by our name, see `names.detector_names`.
        architecture: told from the shapes.
        class_names: id to name, in the order of the outputs.
        params: the experiment that builds it.
        digest: SHA-256 of the file.
        averages: that the file has beside the weights, or instead of which they were.
    """

    state: StateDict
    names: dict[str, str]
    architecture: Architecture
    class_names: dict[int, str]
    params: Any
    digest: str
    averages: Averages

    @property
    def path(self) -> str:
        """Of the PyTorch file."""
        return self.state.path


def read_architecture(state: StateDict) -> tuple[Architecture, dict[str, str]]:
    """Returns the detector that a file's weights make, and their names.

    Raises:
        UserError: it is none that can be built here.
    """
    names = detector_names(state.tensors, state.path)
    shapes = {ours: state.tensors[name].shape for ours, name in names.items()}
    return tell_architecture(shapes, state.path), names


def read_published(
    path: str | os.PathLike,
    class_names: str | os.PathLike | None = None,
    overrides: Sequence[str] = (),
    *,
    ema: bool = False,
) -> PublishedDetector:
    """Reads a checkpoint of one of mmdetection's Libra detectors.

    Args:
        path: the PyTorch file.
        class_names: file with the names of the classes, see `choose_class_names`.
        overrides: settings of the experiment, "task.model.canvas.short_side=600".
        ema: take the moving averages of the weights, see `choose_averages`.

    Raises:
        MismatchError: weights are missing, left over, or do not fit each other.
        UserError: it is damaged, of another detector, or a setting is unknown.
    """
    state, averages = choose_averages(read_state_dict(path), ema)
    digest = _digest(state.path)
    _check_download(state.path, digest)
    architecture, names = read_architecture(state)
    # Before anything is built: a small file may tell of a layer of gigabytes.
    check_shapes(state, names, published_shapes(architecture), str(architecture))
    _check_statistics(state)
    classes = choose_class_names(architecture.num_classes, state.meta, class_names)
    params = experiment_for(architecture, classes)
    _override(params, overrides)
    return PublishedDetector(
        state, names, architecture, classes, params, digest, averages
    )


def _override(params: Any, texts: Sequence[str]) -> None:
    start, names = params.task.init_checkpoint, list(params.task.class_names)
    for text in texts:
        override(params, parse_override(text), f"--set {text}")
    check_fields(params)
    if params.task.init_checkpoint != start:
        raise UserError("--set task.init_checkpoint: it will be the import itself")
    if list(params.task.class_names) != names:
        raise UserError("--set task.class_names: name the classes by --class-names")
    check_detector(params)


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _check_download(path: str, digest: str) -> None:
    match = _PUBLISHED.fullmatch(os.path.basename(path))
    if match and not digest.startswith(match[1]):
        raise UserError(
            f"{path}: its SHA-256 begins with {digest[:8]}, not with {match[1]} as its "
            "name says: the download is incomplete or changed"
        )


def _check_statistics(state: StateDict) -> None:
    """Images are normalised with one mean and deviation here: a file may not differ."""
    found = image_statistics(state.tensors)
    for name, ours in zip(IMAGE_STATISTICS, (MEAN_RGB, DEVIATION_RGB), strict=True):
        if name not in found:
            continue
        theirs = state.array(found[name]).reshape(-1)
        if theirs.shape != (3,) or not np.allclose(theirs, ours, atol=1e-2):
            raise UserError(
                f"{state.path}: {found[name]} is {theirs.tolist()}; detectors here "
                f"normalise images with {list(ours)}"
            )
