"""The best checkpoint of a run, by a metric of its evaluations."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from official.core import train_utils

from libra_tf.errors import UserError
from libra_tf.files.atomic import write_text
from libra_tf.files.json_files import read_json
from libra_tf.training.checkpoints import CheckpointManager

_STEP = "best_ckpt_global_step"  # in Model Garden's note


class BestCheckpoint(train_utils.BestCheckpointExporter):
    """Model Garden's exporter, with a note that is never without its checkpoint.

    The checkpoint is written before `info.json`, which is written whole or not at all;
    a note that cannot be read counts as none. What is not defined is never best.
    """

    _best_ckpt_logs: Mapping[str, Any] | None
    _checkpoint_manager: CheckpointManager | None

    def maybe_export_checkpoint(
        self,
        checkpoint: tf.train.Checkpoint,
        eval_logs: Mapping[str, Any],
        global_step: int,
        write_logs: bool = True,
    ) -> bool:
        """Saves the checkpoint if it is the best so far; returns whether it is."""
        best = self._best_ckpt_logs
        better = best is None or self._new_metric_is_better(best, eval_logs)
        if not (better and self._is_defined(eval_logs)):
            return False
        self._get_checkpoint_manager(checkpoint).save(checkpoint_number=global_step)
        self._best_ckpt_logs = {**eval_logs, _STEP: global_step}
        if write_logs:
            self.export_best_eval_metric(eval_logs, global_step)
        return True

    @property
    def best_ckpt_logs(self) -> Mapping[str, Any]:
        """Metrics of the best checkpoint; its metric is NaN before there is one."""
        return self._best_ckpt_logs or {self._name: np.float32(np.nan)}

    @property
    def has_best(self) -> bool:
        """Whether there is a best checkpoint."""
        return bool(self._best_ckpt_logs)

    @property
    def best_step(self) -> int | None:
        """Step of the best checkpoint; None before there is one."""
        step = (self._best_ckpt_logs or {}).get(_STEP)
        return None if step is None else int(step)

    def export_best_eval_metric(
        self, eval_logs: Mapping[str, Any], global_step: int
    ) -> None:
        """Writes the scalars of an evaluation, and its step."""
        scalars = {k: v for k, v in eval_logs.items() if tf.rank(v) <= 1}
        scalars[_STEP] = global_step
        note = {k: float(np.asarray(v)) for k, v in scalars.items()}
        write_text(Path(self.best_ckpt_logs_path), [json.dumps(note, indent=4), "\n"])

    def _is_defined(self, logs: Mapping[str, Any]) -> bool:
        value = float(np.asarray(logs[self._name]))
        # -1 is an AP without objects.
        return np.isfinite(value) and not (self._metric_comp == "higher" and value < 0)

    @property
    def _name(self) -> str:
        return "|".join(self._metric_name)

    def _get_checkpoint_manager(
        self, checkpoint: tf.train.Checkpoint
    ) -> CheckpointManager:
        if self._checkpoint_manager is None:
            self._checkpoint_manager = CheckpointManager(
                checkpoint,
                directory=self._export_dir,
                max_to_keep=1,
                checkpoint_name=train_utils.BEST_CHECKPOINT_NAME,
            )
        return self._checkpoint_manager

    def _maybe_load_best_eval_metric(self) -> dict[str, float] | None:
        """Returns the note; None for one that is broken, which is written anew."""
        path = Path(self.best_ckpt_logs_path)
        try:
            note = read_json(path) if path.is_file() else None
        except UserError:
            return None
        best = note.get(self._name) if isinstance(note, dict) else None
        is_number = type(best) in (int, float)
        return note if is_number and self._is_defined({self._name: best}) else None


def best_checkpoint(params: Any, model_dir: str) -> BestCheckpoint | None:
    """Returns what keeps the best checkpoint, if the settings ask for it.

    Args:
        params: experiment.
        model_dir: folder of the run.

    Raises:
        UserError: `trainer.best_checkpoint_metric_comp` is neither higher nor lower.
    """
    trainer = params.trainer
    if not trainer.best_checkpoint_export_subdir:
        return None
    if not trainer.best_checkpoint_eval_metric:
        return None
    compare = trainer.best_checkpoint_metric_comp
    if compare not in ("higher", "lower"):
        raise UserError(
            f"trainer.best_checkpoint_metric_comp is {compare!r}; choose higher, lower"
        )
    return BestCheckpoint(
        os.path.join(model_dir, trainer.best_checkpoint_export_subdir),
        trainer.best_checkpoint_eval_metric,
        compare,
    )
