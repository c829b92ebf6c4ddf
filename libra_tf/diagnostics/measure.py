"""Measures sample, objective and feature level of a run over training images."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np
import tensorflow as tf

from libra_tf.diagnostics import IMAGES, negatives
from libra_tf.diagnostics.batch import batch_sums
from libra_tf.diagnostics.figures import figures
from libra_tf.diagnostics.gradients import summarize_gradients
from libra_tf.diagnostics.levels import summarize_levels
from libra_tf.diagnostics.objective import BoxLosses, box_losses
from libra_tf.diagnostics.run import LoadedRun, open_run
from libra_tf.errors import UserError

SEED = 0


def measure(
    run_dir: str,
    *,
    checkpoint: str | None = None,
    data: str | None = None,
    split: str | None = None,
    images: int = IMAGES,
    seed: int = SEED,
    stream: TextIO | None = None,
) -> dict[str, Any]:
    """Measures the three imbalances in a trained detector.

    Runs of one data set, kind of detector and `seed` see the same augmented images,
    whatever they were trained with. The detector computes in inference mode, and gets
    as many proposals as in training.

    Args:
        run_dir: folder of a run.
        checkpoint: prefix of another checkpoint than the run's best.
        data: another folder of `libra data convert`.
        split: another split than the run was trained on.
        images: how many augmented training images.
        seed: of the augmentation and the samplers.
        stream: for progress lines; standard error by default.

    Returns:
        Values for JSON: `checkpoint`, `data`, `images`, `seed`; `sample`, see
        `summarize_negatives`, and `own`, the run's rule; `objective`: `threshold`,
        `losses`, see `summarize_gradients`, and `own`; `feature`: `before` and `after`
        the neck, see `summarize_levels`; `training`, the scalars of `figures`, which
        TensorBoard shows while a detector trains; `notes`, why something is missing.
        What is missing is None.

    Raises:
        UserError: there is no checkpoint, no such data or no image in it, or `images`
            is below 1.
    """
    where = {"checkpoint": checkpoint, "data": data, "split": split}
    with open_run(run_dir, **where, images=images, seed=seed) as run:
        task = run.params.task
        losses = box_losses(task.losses)
        totals = _gather(run, losses, seed, stream or sys.stderr)
    levels = range(task.model.min_level, task.model.max_level + 1)
    values = {
        "checkpoint": run.checkpoint,
        "data": task.train_data.input_path,
        "images": images,
        "seed": seed,
        "sample": _sample(totals, task.model),
        "objective": _objective(totals, losses),
        "feature": _feature(totals, [str(level) for level in levels]),
        "training": figures(totals["own"], levels, task.class_names).scalars,
    }
    return values | {"notes": _notes(values, task)}


def _gather(
    run: LoadedRun, losses: BoxLosses, seed: int, stream: TextIO
) -> dict[str, Any]:
    """Adds up the numbers of all batches."""
    step = tf.function(batch_sums(run.model, run.task, losses), autograph=False)
    totals, done, start = None, 0, time.monotonic()
    for index, batch in enumerate(run.batches):
        sums = step(*batch, tf.constant([seed, index], tf.int64))
        sums = tf.nest.map_structure(lambda x: x.numpy().astype(np.float64), sums)
        totals = sums if totals is None else tf.nest.map_structure(np.add, totals, sums)
        done += int(batch[0].shape[0])
        rate = done / (time.monotonic() - start)
        print(f"\r{done} images, {rate:.1f}/s", end="", file=stream, flush=True)
    if totals is None:
        raise UserError(
            f"{run.params.task.train_data.input_path}: no images in these files"
        )
    print(file=stream)
    return totals


def _sample(totals: dict[str, Any], model: Any) -> dict[str, Any] | None:
    if "sample" not in totals:
        return None
    summary = negatives.summarize_negatives(totals["sample"])
    sampler = model.roi_sampler
    # The hardest of both kinds together are other negatives, and another number.
    compared = sampler.negatives in summary["rules"] and not sampler.without_quota
    return {**summary, "own": sampler.negatives if compared else None}


def _objective(totals: dict[str, Any], losses: BoxLosses) -> dict[str, Any]:
    return {
        "threshold": losses.threshold,
        "losses": {
            name: summarize_gradients(sums)
            for name, sums in totals["objective"].items()
        },
        "own": losses.own,
    }


def _feature(totals: dict[str, Any], levels: Sequence[str]) -> dict[str, Any]:
    sums = totals["own"]["feature"]
    return {
        name: summarize_levels(sums[name], levels) if name in sums else None
        for name in ("before", "after")
    }


def _notes(values: dict[str, Any], task: Any) -> list[str]:
    """Why something is missing, or not what a reader would expect."""
    notes = []
    if values["sample"] is None:
        notes.append("sample level: left out, a one-stage detector has no proposals")
    elif values["sample"]["own"] is None:
        notes.append(
            "sample level: the run's own sampler "
            f"({task.model.roi_sampler.negatives}) is not among the rules compared"
        )
    if task.is_two_stage and task.model.roi_sampler.cascade_iou_thresholds:
        notes.append("sample and objective level: of a cascade, the first head")
    if task.is_two_stage and task.losses.frcnn_class_use_binary_cross_entropy:
        notes.append(
            "sample level: the hardest are found by softmax cross entropy, though the "
            "run trains with binary cross entropy"
        )
    if values["objective"]["own"] is None:
        notes.append(
            f"objective level: the run's own box loss ({task.losses.box.type}) is not "
            "a function of each coordinate alone, and is not measured"
        )
    if values["feature"]["before"] is None:
        notes.append("feature level: left out, the decoder gives no pyramid")
    elif values["feature"]["after"] is None:
        notes.append("feature level: there is no neck, this is the FPN alone")
    return notes
