"""From a PyTorch checkpoint to a checkpoint and an experiment of this package."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from libra_tf.errors import UserError
from libra_tf.experiments.saved import PARAMS_FILE, dump_params
from libra_tf.files.atomic import draft_name, make_folder, write_text
from libra_tf.files.writable import require_writable
from libra_tf.models.maskrcnn import build_maskrcnn
from libra_tf.models.retinanet import build_retinanet
from libra_tf.weights.published_detector import PublishedDetector
from libra_tf.weights.slots import published_layout
from libra_tf.weights.weight_matching import Match, assign_weights, match_weights

RECORD, CHECKPOINT = "import.json", "ckpt"
_STATE_FILE = "checkpoint"


def build_detector(published: PublishedDetector) -> tf_keras.Model:
    """Returns the detector with random weights, for images of any size."""
    config = published.params.task.model
    specs = tf_keras.layers.InputSpec(shape=[None, None, None, 3])
    if published.architecture.is_two_stage:
        return build_maskrcnn(specs, config)
    return build_retinanet(specs, config)


def match_detector(published: PublishedDetector, model: tf_keras.Model) -> list[Match]:
    """Returns which weight sets which variable of `model`; see `match_weights`."""
    try:
        slots = published_layout(model)
    except ValueError as error:  # a setting that no published detector has
        raise UserError(f"{published.path}: {error}") from error
    return match_weights(
        published.state,
        published.names,
        slots,
        str(published.architecture),
        list(published.class_names),
    )


def import_weights(
    published: PublishedDetector, out: str | os.PathLike, *, force: bool = False
) -> dict[str, Any]:
    """Writes the folder of a run that has been trained elsewhere.

    The folder gets a checkpoint, params.yaml and import.json, in one step: it is there
    whole or not at all.

    Args:
        published: what to import.
        out: folder, which must not exist, or be empty.
        force: replace an earlier import in `out`.

    Returns:
        The content of import.json.

    Raises:
        MismatchError: weights do not fit; all are listed.
        UserError: a weight cannot be read, or the folder is in use.
    """
    out = Path(os.path.abspath(out))
    check_folder(out, force)
    require_writable([out.parent])
    model = build_detector(published)
    matches = match_detector(published, model)
    assign_weights(published.state, matches, list(published.class_names))
    record = describe(published, matches)
    make_folder(out.parent)
    draft = draft_name(out)
    try:
        draft.mkdir()
        _write(draft, out, published.params, model, record)
        _replace(draft, out)
    except (OSError, tf.errors.OpError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"{out}: cannot be written: {text}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return record


def describe(published: PublishedDetector, matches: Sequence[Match]) -> dict[str, Any]:
    """Returns what was imported, ready for JSON."""
    return {
        "source": os.path.basename(published.path),
        "sha256": published.digest,
        "architecture": dataclasses.asdict(published.architecture),
        "class_names": published.class_names,
        "averages": dataclasses.asdict(published.averages),
        "num_tensors": len(matches),
        "num_parameters": sum(int(np.prod(match.shape)) for match in matches),
    }


def check_folder(out: Path, force: bool) -> None:
    """Raises `UserError` unless `out` is free, or an earlier import with `force`."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"{out}: is a file; name a folder")
    names = {path.name for path in out.iterdir()}
    if not names:
        return
    is_import = RECORD in names and all(map(_is_of_an_import, names))
    if not is_import:
        raise UserError(f"{out}: is not empty; name another folder")
    if not force:
        raise UserError(
            f"{out}: has an import already; give --force to replace it, or name "
            "another folder"
        )


def _is_of_an_import(name: str) -> bool:
    return name in (RECORD, PARAMS_FILE, _STATE_FILE) or name.startswith(
        f"{CHECKPOINT}-0."
    )


def _write(
    folder: Path, out: Path, params: Any, model: tf_keras.Model, record: dict
) -> None:
    step = tf.Variable(0, dtype=tf.int64)
    # With the parts by name, as training saves it, so that training can start from it.
    checkpoint = tf.train.Checkpoint(
        model=model, global_step=step, **model.checkpoint_items
    )
    manager = tf.train.CheckpointManager(
        checkpoint, str(folder), max_to_keep=1, checkpoint_name=CHECKPOINT
    )
    manager.save(checkpoint_number=0)
    # Training goes on from these weights; the backbone alone would be the default.
    task = {"init_checkpoint": str(out), "init_checkpoint_modules": "all"}
    params.override({"task": task}, is_strict=True)
    write_text(folder / PARAMS_FILE, [dump_params(params)])
    write_text(folder / RECORD, [json.dumps(record, indent=1) + "\n"])


def _replace(draft: Path, out: Path) -> None:
    if not out.exists():
        draft.rename(out)
        return
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    out.rename(old)
    try:
        draft.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
