"""What is kept of a training step that was not finite, to look at it again."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import threading
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from libra_tf.errors import UserError
from libra_tf.experiments.saved import PARAMS_FILE
from libra_tf.files.atomic import draft_folder, write_text
from libra_tf.inputs.source_ids import SOURCE_ID

FOLDER = "nonfinite"  # in the folder of the run
# Sums of what a detector tells by parts.
_SUMS = ("model_loss", "total_loss", "training_loss")
# What NumPy raises of files that are cut or changed, and what a report may lack.
_READ_ERRORS = (
    OSError, ValueError, KeyError, TypeError, EOFError, RecursionError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_REPORT = "step.json"
_WEIGHTS = "weights"


@dataclasses.dataclass
class FailedStep:
    """The first step that was not finite.

    Attributes:
        step: its number, counted from 1.
        parts: losses that are not finite.
        gradients: variables whose gradient is not finite.
        batches: for each replica that saw it, the tensors of its batch by name.
    """

    step: int
    parts: list[str] = dataclasses.field(default_factory=list)
    gradients: list[str] = dataclasses.field(default_factory=list)
    batches: dict[int, dict[str, np.ndarray]] = dataclasses.field(default_factory=dict)

    def name_parts(self, logs: Mapping[str, Any]) -> None:
        """Sets `parts` by the losses of a loop that this step ended."""
        bad = sorted(k for k, value in logs.items() if not np.all(np.isfinite(value)))
        self.parts = [name for name in bad if name not in _SUMS] or bad[:1]

    @property
    def source_ids(self) -> list[int]:
        """The images of the batches; empty where the data do not name them."""
        names = (batch.get(SOURCE_ID) for batch in self.batches.values())
        found = (int(i) for ids in names if ids is not None for i in ids.ravel())
        return [i for i in found if i >= 0]

    def __str__(self) -> str:
        what = ", ".join(self.parts) or "a gradient"
        text = f"step {self.step}: {what} is not finite"
        if not self.parts and not self.gradients:
            text = f"step {self.step}: the loss is above trainer.loss_upper_bound"
        elif self.gradients:
            more = f" and {n} more" if (n := len(self.gradients) - 1) else ""
            text += f" (gradient of {self.gradients[0]}{more})"
        ids = ", ".join(map(str, self.source_ids))
        return f"{text}, images {ids}" if ids else text


class NonFiniteStep(Exception):
    """A loss or gradient of a training step is NaN or infinite.

    Attributes:
        failed: the step.
    """

    def __init__(self, failed: FailedStep):
        super().__init__(str(failed))
        self.failed = failed


class Recorder:
    """Takes the batch of a failing step out of a graph that runs.

    Attributes:
        failed: the step, once there was one.

    Args:
        variables: what the gradients belong to.
    """

    def __init__(self, variables: Sequence[tf.Variable]):
        self._names = [variable.name for variable in variables]
        self._lock = threading.Lock()  # replicas call at once
        self.failed: FailedStep | None = None

    def record(self, step: tf.Tensor, finite: tf.Tensor, inputs: Any) -> tf.Tensor:
        """Adds the record of a replica to a graph; returns True when it was made.

        Args:
            step: number of the step.
            finite: boolean for each gradient; may be empty.
            inputs: images and labels of the replica.
        """
        names = [".".join(map(str, path)) for path, _ in _with_paths(inputs)]
        tensors = [tensor for _, tensor in _with_paths(inputs)]
        context = tf.distribute.get_replica_context()
        replica = context.replica_id_in_sync_group if context else 0

        def keep(step, replica, finite, *arrays):
            with self._lock:
                if self.failed is None:
                    self.failed = FailedStep(int(step))
                bad = [n for n, ok in zip(self._names, finite, strict=False) if not ok]
                known = self.failed.gradients
                known += [name for name in bad if name not in known]
                self.failed.batches[int(replica)] = dict(
                    zip(names, arrays, strict=True)
                )
            return np.True_

        return tf.numpy_function(keep, [step, replica, finite, *tensors], tf.bool)


def pack(failed: FailedStep | None) -> bytes:
    """Returns a step as bytes, for other processes; b"" for None."""
    if failed is None:
        return b""
    note = json.dumps({"step": failed.step, "gradients": failed.gradients}).encode()
    arrays: dict[str, Any] = {
        f"{replica} {name}": _readable(array)
        for replica, batch in failed.batches.items()
        for name, array in batch.items()
    }
    stream = io.BytesIO()
    np.savez(stream, note=np.frombuffer(note, np.uint8), **arrays)
    return stream.getvalue()


def merged(parts: Sequence[bytes]) -> FailedStep | None:
    """Returns one step of what `pack` gave in each process; None if none has any."""
    whole: FailedStep | None = None
    for part in filter(None, parts):
        with np.load(io.BytesIO(part), allow_pickle=False) as arrays:
            note = json.loads(arrays["note"].tobytes())
            whole = whole or FailedStep(note["step"])
            whole.gradients += [
                g for g in note["gradients"] if g not in whole.gradients
            ]
            for key in arrays.files:
                replica, _, name = key.partition(" ")
                if name:
                    whole.batches.setdefault(int(replica), {})[name] = arrays[key]
    return whole


def _with_paths(inputs: Any) -> list[tuple[tuple[Any, ...], tf.Tensor]]:
    """Tensors of a nested structure, with the keys that lead to them."""
    images, labels = inputs
    found: list[tuple[tuple[Any, ...], tf.Tensor]] = [(("images",), images)]

    def walk(path: tuple[Any, ...], value: Any) -> None:
        if isinstance(value, dict):
            for key in sorted(value):
                walk((*path, key), value[key])
        else:
            found.append((path, value))

    walk((), labels)
    return found


def write_dump(failed: FailedStep, model: tf.Module, model_dir: str) -> Path:
    """Keeps a failed step: batches, weights and settings; returns the folder.

    Args:
        failed: the step.
        model: with the weights that the step began with (in float16, ended with).
        model_dir: folder of the run; a step of the same number is written over.
    """
    folder = Path(model_dir, FOLDER, f"step-{failed.step}")
    shutil.rmtree(folder, ignore_errors=True)
    with draft_folder(folder) as draft:
        _write_into(draft, failed, model, model_dir)
    return folder


def _write_into(
    folder: Path, failed: FailedStep, model: tf.Module, model_dir: str
) -> None:
    for replica, batch in failed.batches.items():
        arrays: dict[str, Any] = {k: _readable(array) for k, array in batch.items()}
        np.savez_compressed(folder / f"batch-{replica}.npz", **arrays)
    tf.train.Checkpoint(model=model).write(str(folder / _WEIGHTS))
    report = {
        "step": failed.step,
        "parts": failed.parts,
        "gradients": failed.gradients,
        "source_ids": failed.source_ids,
    }
    shutil.copyfile(Path(model_dir, PARAMS_FILE), folder / PARAMS_FILE)
    write_text(folder / _REPORT, [json.dumps(report, indent=1)])


def _readable(array: np.ndarray) -> np.ndarray:
    """NumPy's files do not know bfloat16."""
    half = array.dtype == tf.bfloat16.as_numpy_dtype
    return array.astype(np.float32) if half else array


def read_dump(folder: str | Path) -> tuple[FailedStep, str]:
    """Reads what `write_dump` wrote: the step, and the checkpoint of its weights.

    Raises:
        UserError: the folder is none of these, or is damaged.
    """
    folder = Path(folder)
    try:
        report = json.loads((folder / _REPORT).read_text(encoding="utf-8"))
        failed = FailedStep(report["step"], report["parts"], report["gradients"])
        for path in sorted(folder.glob("batch-*.npz")):
            with np.load(path) as arrays:
                failed.batches[int(path.stem.split("-")[1])] = dict(arrays)
    except _READ_ERRORS as error:
        raise UserError(
            f"{folder} is no step that a training kept ({error}); give a folder "
            f"RUN/{FOLDER}/step-N"
        ) from error
    if not failed.batches:
        raise UserError(f"{folder} holds no batch-*.npz")
    return failed, str(folder / _WEIGHTS)


def as_inputs(batch: dict[str, np.ndarray]) -> tuple[tf.Tensor, dict[str, Any]]:
    """Returns images and labels of a batch, nested as they were."""
    labels: dict[str, Any] = {}
    for name, array in batch.items():
        *path, last = name.split(".")
        inner = labels
        for key in path:
            inner = inner.setdefault(key, {})
        inner[last] = tf.constant(array)
    return labels.pop("images"), labels
