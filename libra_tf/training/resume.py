"""What must not change between a run and its continuation."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from libra_tf.errors import UserError
from libra_tf.experiments.saved import PARAMS_FILE, read_yaml
from libra_tf.files.damaged import DAMAGED
from libra_tf.training.checkpoints import (
    checkpoint_number,
    data_files,
    fault_of,
    newest_good,
    remove_leftovers,
    set_aside,
)
from libra_tf.training.compare_settings import default_settings, find_difference_at
from libra_tf.training.later_steps import cut_later_steps
from libra_tf.weights.restore import checkpoint_step, inspect_checkpoint

# Other settings, such as the number of steps, may change.
_FIXED = ("experiment", "task.dataset", "task.class_names", "task.model", "task.losses")


def newest_checkpoint(model_dir: str) -> str | None:
    """Returns the newest checkpoint of a folder, None if there is none at all.

    Raises:
        UserError: there are checkpoints, but the file that says which is the newest is
            lost, broken or names one that is gone.
    """
    with contextlib.suppress(ValueError):  # an empty state file
        latest = tf.train.latest_checkpoint(model_dir)
        if latest and _is_in(latest, model_dir):
            return latest
        state = tf.train.get_checkpoint_state(model_dir)
        path = state.model_checkpoint_path if state else ""
        if state and _is_in(path, model_dir) and data_files(path):
            return path  # without its index
    names = [os.path.basename(p) for p in tf.io.gfile.glob(f"{model_dir}/ckpt-*.index")]
    if not names:
        return None
    steps = sorted(int(n) for n in (x[5:-6] for x in names) if n.isdigit())
    raise UserError(
        f"{model_dir} holds the checkpoints {steps}, but its file `checkpoint` is "
        "lost, broken or names another; write the line "
        f'model_checkpoint_path: "ckpt-{steps[-1]}" into it, or give another folder'
    )


def _is_in(checkpoint: str, folder: str) -> bool:
    """Whether a checkpoint is the folder's own: a state file can name any."""
    if "://" in folder:
        return True
    return os.path.realpath(os.path.dirname(checkpoint)) == os.path.realpath(folder)


@dataclasses.dataclass(frozen=True)
class Start:
    """Where a training begins.

    Attributes:
        model_dir: folder of the run.
        checkpoint: the newest that is good; None if there is none at all.
        step: of that checkpoint, else 0.
        faults: what is wrong with newer ones, by their prefix.
    """

    model_dir: str
    checkpoint: str | None = None
    step: int = 0
    faults: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def tidy(
        self, event_folders: Sequence[str] = (), *, best: bool = True
    ) -> Iterator[str]:
        """Makes the folder as it was at `step`.

        Leftovers of killed saves go, damaged checkpoints are set aside, and what the
        metrics and TensorBoard's files tell of later steps goes, since these steps come
        again.

        Args:
            event_folders: where the run has TensorBoard's files.
            best: this run writes the best checkpoint, and no evaluation beside it.

        Yields:
            Lines that say what was done, each as soon as it is.
        """
        if self.checkpoint and self.faults:
            set_aside(self.model_dir, list(self.faults), self.checkpoint)
            for prefix, fault in self.faults.items():
                yield (
                    f"{os.path.basename(prefix)} is damaged ({fault}) and was moved to "
                    f"{DAMAGED}/; going on from ckpt-{self.step}, so "
                    f"{checkpoint_number(prefix) - self.step} steps come again"
                )
        others = _folders_of_checkpoints(self.model_dir) if best else []
        for folder in (self.model_dir, *others):
            removed = remove_leftovers(folder)
            if removed:
                names = ", ".join(removed)
                yield f"removed what a killed save had left: {names}"
        yield from cut_later_steps(self.model_dir, event_folders, self.step)


def find_newest(model_dir: str) -> Start:
    """Finds the checkpoint that an evaluation takes, which is not a damaged one.

    Raises:
        UserError: the newest checkpoint of the folder cannot be read.
    """
    latest = newest_checkpoint(model_dir)
    fault = fault_of(latest) if latest else None
    if fault:
        raise UserError(
            f"{latest} is damaged ({fault}); `libra eval --model` takes another "
            "checkpoint of the run"
        )
    return Start(model_dir, latest)


def find_start(model_dir: str) -> Start:
    """Finds the newest checkpoint that can be resumed; changes nothing.

    Raises:
        UserError: there are checkpoints, but none is good.
    """
    latest = newest_checkpoint(model_dir)
    if latest is None:
        return Start(model_dir)
    good, faults = newest_good(model_dir, latest)
    return Start(model_dir, good, checkpoint_step(good), faults)


def _folders_of_checkpoints(model_dir: str) -> list[str]:
    """Those of the best and of the averages; not those of other runs."""
    inside = sorted(f.path for f in os.scandir(model_dir) if f.is_dir())
    checkpoints = [f for f in inside if os.path.isfile(os.path.join(f, "checkpoint"))]
    return [f for f in checkpoints if not os.path.exists(os.path.join(f, PARAMS_FILE))]


def check_settings(params: Any, start: Start, params_file: str) -> None:
    """Refuses to continue a run with another model, loss or data set.

    Args:
        params: resolved experiment.
        start: where it goes on.
        params_file: name of the settings file in the folder of the run.

    Raises:
        UserError: names the first setting that differs.
    """
    path = os.path.join(start.model_dir, params_file)
    if not start.checkpoint:
        return
    if not os.path.isfile(path):
        raise UserError(f"{path} is lost, so the run cannot be continued safely")
    before, now = read_yaml(path), params.as_dict()
    defaults = default_settings(params)
    for key in _FIXED:
        difference = find_difference_at(before, now, defaults, key)
        if difference:
            raise UserError(
                f"{start.model_dir} holds a run with {difference}; give another "
                "output folder, or the same setting to continue it"
            )


def check_complete(checkpoint: str, model: tf.Module) -> None:
    """Refuses a checkpoint that would leave a part of the model at random weights."""
    report = inspect_checkpoint(checkpoint, {"model": model})
    if report.restored < report.total:
        raise UserError(
            f"the run cannot be continued, its model was another one: {report}"
        )
