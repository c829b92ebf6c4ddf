"""Checkpoints of a run: only finite numbers are saved, only good ones are resumed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from libra_tf.errors import UserError
from libra_tf.files.atomic import abandoned_drafts, make_folder
from libra_tf.files.damaged import DAMAGED
from libra_tf.weights.restore import checkpoint_step

# Of a file that is there and cannot be reached now, which is no damage.
_OUT_OF_REACH = re.compile(
    "permission denied|input/output error|too many open files|stale file handle", re.I
)


class CheckpointManager(tf.train.CheckpointManager):
    """TensorFlow's manager; what is not finite is not saved.

    A NaN in a weight, a slot of the optimizer or an average would be read again by
    every restart.

    A checkpoint is due where a multiple of the interval is reached or passed. The base
    class counts from the last one and makes the first at once, so that a run that was
    stopped would have its checkpoints at other steps.

    Args:
        *args: see the base class.
        first: what to restore, where another process has written it.
        **kwargs: see the base class.
    """

    def __init__(self, *args: Any, first: str | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if first is not None:
            self._latest_checkpoint = first

    def save(
        self,
        checkpoint_number: int | tf.Variable | None = None,
        check_interval: bool = True,
        options: tf.train.CheckpointOptions | None = None,
    ) -> str | None:
        """Saves; see the base class.

        Raises:
            UserError: a variable is not finite.
        """
        if check_interval and not self._is_due():
            return None
        refuse_not_finite(self.checkpoint)
        return super().save(checkpoint_number, check_interval=False, options=options)

    def _is_due(self) -> bool:
        interval = self.checkpoint_interval
        if interval is None:
            return True
        last = self._last_checkpoint_step or 0
        return int(self._step_counter.numpy()) // interval > last // interval


def refuse_not_finite(checkpoint: tf.train.Checkpoint) -> None:
    """Raises `UserError` if a variable of a checkpoint is not finite."""
    variables = list(_variables(checkpoint))
    bad = [v.name for v in variables if not np.all(np.isfinite(v.numpy()))]
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise UserError(
            f"{bad[0]}{more} is not finite; nothing was saved since the last "
            "checkpoint, from which the same command goes on"
        )


def size_in_bytes(checkpoint: tf.train.Checkpoint) -> int:
    """Returns about how much a checkpoint takes on the disk."""
    found = _variables(checkpoint)
    return sum(v.shape.num_elements() * v.dtype.size for v in found)


def _variables(checkpoint: tf.train.Checkpoint) -> Iterator[tf.Variable]:
    """Floating variables of model and optimizer, slots and averages, each once."""
    seen: set[int] = set()
    for owner in (checkpoint.model, *_nested(checkpoint.optimizer)):
        variables = owner.variables
        for variable in variables() if callable(variables) else variables:
            if variable.dtype.is_floating and id(variable) not in seen:
                seen.add(id(variable))
                yield variable


def _nested(optimizer: Any) -> Iterator[Any]:
    """An optimizer, and those that it wraps (averages, scaled losses)."""
    while optimizer is not None:
        yield optimizer
        inner = getattr(optimizer, "inner_optimizer", None)
        optimizer = inner or getattr(optimizer, "_optimizer", None)


def raise_failed_save(checkpoint: tf.train.Checkpoint) -> None:
    """Raises the error of a save in the background; TensorFlow waits for the next."""
    background = getattr(checkpoint, "_async_checkpointer_impl", None)
    if background is not None:
        background._check_async_thread_error()


def fault_of(prefix: str) -> str | None:
    """Returns why a checkpoint cannot be resumed; None if it can."""
    try:
        reader = tf.train.load_checkpoint(prefix)
        for name in reader.get_variable_to_shape_map():
            value = reader.get_tensor(name)
            is_float = isinstance(value, np.ndarray) and value.dtype.kind == "f"
            if is_float and not np.all(np.isfinite(value)):
                return f"{name.split('/.ATTRIBUTES')[0]} is not finite"
    except (IndexError, ValueError, tf.errors.OpError) as error:
        text = " ".join(str(error).split())
        if _OUT_OF_REACH.search(text):
            raise
        return text[:100]
    return None


def _fault_of_step(prefix: str) -> str | None:
    """Returns what is wrong with the step in a checkpoint of a run, if anything is."""
    try:
        step = checkpoint_step(prefix)
    except UserError:
        return "no training step is in it"
    is_own = step == checkpoint_number(prefix)
    return None if is_own else f"it is of step {step}, another's under its name"


def newest_good(model_dir: str, latest: str) -> tuple[str, dict[str, str]]:
    """Finds the newest checkpoint that is good.

    Args:
        model_dir: folder of the run.
        latest: its newest checkpoint.

    Returns:
        That checkpoint, and what is wrong with newer ones, by their prefix.

    Raises:
        UserError: none is good.
    """
    faults: dict[str, str] = {}
    for prefix in [latest, *older_checkpoints(model_dir, latest)]:
        fault = fault_of(prefix) or _fault_of_step(prefix)
        if fault is None:
            return prefix, faults
        faults[prefix] = fault
    told = "; ".join(f"{Path(p).name}: {fault}" for p, fault in faults.items())
    raise UserError(
        f"{model_dir} holds damaged checkpoints only ({told}); give another folder"
    )


def set_aside(model_dir: str, damaged: Sequence[str], good: str) -> None:
    """Moves damaged checkpoints of a run away, and names a good one the newest."""
    folder = make_folder(Path(model_dir, DAMAGED))  # first: nothing has changed yet
    kept = [*reversed(older_checkpoints(model_dir, good)), good]
    times = [os.path.getmtime(f"{prefix}.index") for prefix in kept]
    # TensorFlow deletes only what is younger than what it keeps for ever.
    tf.compat.v1.train.update_checkpoint_state(
        model_dir,
        os.path.basename(good),
        [os.path.basename(prefix) for prefix in kept],
        all_model_checkpoint_timestamps=times,
        last_preserved_timestamp=min(times) - 1.0,
    )
    for prefix in damaged:
        for path in _files(prefix):
            path.replace(folder / path.name)


def older_checkpoints(model_dir: str, prefix: str) -> list[str]:
    """Returns the checkpoints of a run with a lower step than one, newest first."""
    step = checkpoint_number(prefix)
    paths = (p.with_suffix("") for p in Path(model_dir).glob("ckpt-*.index"))
    older = [p for p in paths if -1 < checkpoint_number(p) < step]
    return [str(p) for p in sorted(older, key=checkpoint_number, reverse=True)]


def checkpoint_number(prefix: str | Path) -> int:
    """Returns N of a checkpoint's name ckpt-N; -1 if it has another one."""
    number = Path(prefix).name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def _files(prefix: str) -> list[Path]:
    path = Path(prefix)
    return [*path.parent.glob(f"{path.name}.index"), *data_files(path)]


def data_files(prefix: str | Path) -> list[Path]:
    """Returns the files of a checkpoint that hold its numbers."""
    path = Path(prefix)
    return sorted(path.parent.glob(f"{path.name}.data-*"))


def remove_leftovers(folder: str) -> list[str]:
    """Removes what a killed save left behind; returns the names.

    TensorFlow writes a checkpoint in `NAME_temp` and moves its data before its index.
    """
    removed = []
    for path in sorted(Path(folder).glob("*_temp")):
        if path.is_dir() and list(path.glob("part-*")) == list(path.iterdir()):
            shutil.rmtree(path)
            removed.append(path.name)
    for path in sorted(Path(folder).glob("*.data-?????-of-?????")):
        if not path.with_suffix(".index").exists():
            path.unlink()
            removed.append(path.name)
    for path in abandoned_drafts(folder):
        path.unlink()
        removed.append(path.name)
    return removed
