"""The detections of a finished run on its validation images, made once."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import tf_keras

from libra_tf.errors import UserError
from libra_tf.files.json_files import read_json, write_json
from libra_tf.training.evaluate import evaluate_checkpoint
from libra_tf.weights.find_checkpoint import find_checkpoint, run_folder

FOLDER = "analysis"  # in the folder of a run
DETECTIONS, SOURCE = "detections.json", "detections_of.json"


@dataclass(frozen=True)
class RunDetections:
    """COCO results of a run, and the annotations of the same images."""

    detections: str
    annotations: str


def run_detections(run: str, stream: TextIO | None = None) -> RunDetections:
    """Returns the detections of a run's best checkpoint; evaluates it if need be.

    They are kept in `RUN/analysis/detections.json`, and made anew when the best
    checkpoint or the annotation file is another than they were made with.

    Args:
        run: folder of the run, or a checkpoint prefix.
        stream: for progress lines; standard error by default.

    Raises:
        UserError: there is no checkpoint, or the evaluation cannot be done.
    """
    stream = stream or sys.stderr
    found = find_checkpoint(run)
    folder = Path(run_folder(found.path) or run, FOLDER)
    detections, source = folder / DETECTIONS, folder / SOURCE
    annotations = _annotation_file(found.params, run)
    made_with = _made_with(found.path, annotations)
    if detections.is_file() and source.is_file() and read_json(source) == made_with:
        print(f"detections of {found.path}: {detections}", file=stream)
        return RunDetections(str(detections), annotations)
    print(f"evaluating {found.path} on {annotations}", file=stream)
    # That of a run that was evaluated before in this process.
    tf_keras.mixed_precision.set_global_policy("float32")
    _, evaluator = evaluate_checkpoint(found.params, found.path, stream)
    evaluator.save_detections(detections)
    write_json(source, made_with, indent=1)
    return RunDetections(str(detections), annotations)


def _annotation_file(params: Any, run: str) -> str:
    path = params.task.annotation_file
    if not path:
        raise UserError(
            f"{run}: its params.yaml names no task.annotation_file; evaluate it with "
            "`libra eval --model RUN --out DIR`, and give DIR/detections.json and "
            "--annotations"
        )
    return path


def _made_with(checkpoint: str, annotations: str) -> dict[str, str]:
    """Returns what detections depend on.

    The index of a checkpoint has a checksum of each tensor.
    """
    index = Path(f"{checkpoint}.index").read_bytes()
    return {
        "checkpoint": os.path.basename(checkpoint),
        "index_sha256": hashlib.sha256(index).hexdigest(),
        "annotations": annotations,
        "annotations_sha256": _sha256(annotations),
    }


def _sha256(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); it is the run's "
            "task.annotation_file"
        ) from error
