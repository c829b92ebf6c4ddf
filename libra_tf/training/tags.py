"""TensorBoard's tags of what a run logs, in groups.

Only TensorBoard has groups: `metrics.jsonl`, `best_checkpoint_eval_metric` and the
lines of progress go by the names that are logged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from official.vision.utils.summary_manager import ImageScalarSummaryManager

# Logged, but a curve of them says nothing: the same as another, or no more than the
# length of a list.
_NOT_SHOWN = {
    "training_loss", "validation_loss", "num_images_evaluated", "num_images_missing",
}  # fmt: skip
_SPEED = {
    "steps_per_second", "examples_per_second", "data_wait_share", "peak_memory_gib",
}  # fmt: skip


def tag_of(name: str) -> str | None:
    """Returns "group/name" for a name that is logged; None for what is not shown.

    Losses and the learning rate are in `loss/`; `AP`, `AP50`, by size and the best in
    `AP/`, `AP@0.55` in `AP_iou/`, `AP/<class>` in `AP_class/`; recall in `AR/`, that of
    proposals in `proposals/`. Masks are beside boxes: `AP/mask_AP`.
    """
    if name in _NOT_SHOWN:
        return None
    if name in _SPEED:
        return f"speed/{name}"
    if name.endswith("_loss"):
        return f"loss/{name.removesuffix('_loss')}"
    if name == "learning_rate":
        return f"loss/{name}"
    mask = "mask_" if name.startswith("mask_") else ""
    bare = name.removeprefix(mask)
    if bare.startswith("AP/"):
        return f"AP_class/{mask}{bare.removeprefix('AP/')}"
    if bare.startswith("AP@"):
        return f"AP_iou/{mask}{bare}"
    if bare.startswith("AR"):
        return f"proposals/{name}" if "@" in bare else f"AR/{name}"
    return f"AP/{name}" if bare.startswith(("AP", "best_")) else name


class GroupedSummaries(ImageScalarSummaryManager):
    """Writes what is logged under grouped tags.

    Left out are figures that are not defined (-1: no object) and losses that the
    detector does not have.

    Args:
        folder: of the event files.
        step: of training.
        absent: names of losses that are always 0.
    """

    def __init__(self, folder: str, step: tf.Variable, absent: Sequence[str] = ()):
        self._absent = set(absent)
        super().__init__(
            folder,
            scalar_summary_fn=self._write_scalar,
            image_summary_fn=tf.summary.image,
            global_step=step,
        )

    def _write_scalar(self, name: str, value: Any, step: tf.Variable) -> None:
        tag = tag_of(name)
        if tag is None or name in self._absent or not math.isfinite(float(value)):
            return
        if tag.startswith(("AP", "AR/", "proposals/")) and float(value) < 0:
            return
        tf.summary.scalar(tag, value, step=step)


def grouped_summaries(params: Any, folder: str, step: tf.Variable) -> GroupedSummaries:
    """Returns what writes the event files of a run's training or validation.

    Args:
        params: experiment.
        folder: of the event files.
        step: of training.
    """
    has_masks = getattr(params.task.model, "include_mask", True)
    absent = () if has_masks else ("mask_loss",)
    return GroupedSummaries(folder, step, absent)
