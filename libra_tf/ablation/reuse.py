"""Finished runs of other ablations with the same settings need not be made again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from libra_tf.ablation.plan import Plan
from libra_tf.ablation.runs import RESULT_FILE, SETTINGS_FILE, Run, read_result
from libra_tf.errors import UserError
from libra_tf.files.json_files import read_json, write_json
from libra_tf.training.compare_settings import find_difference


def reuse(
    plan: Plan, scale: str, runs: Sequence[Run], folders: Sequence[str]
) -> list[Run]:
    """Copies results of equal settings, the seed included; returns the runs they fit.

    The tables of a paper share their baseline. A copied result keeps its numbers,
    date, commit and command, and says in `reused_from` where it was made. For settings
    that one version only knows, see `libra_tf.training.compare_settings`.

    Args:
        plan: that the runs belong to.
        scale: one of `plan.SCALES`.
        runs: those without a result are looked for.
        folders: below which finished runs are.

    Raises:
        UserError: a folder does not exist.
    """
    found = _finished(folders)
    copied = []
    for run in runs:
        source = None if run.started else _find(run, found)
        if source is None:
            continue
        result = read_result(source / RESULT_FILE)
        changed = {"plan": plan.name, "scale": scale, "row": run.row}
        origin = result.get("reused_from") or str(source)
        write_json(os.path.join(run.folder, SETTINGS_FILE), run.settings, indent=1)
        write_json(
            os.path.join(run.folder, RESULT_FILE),
            {**result, **changed, "reused_from": origin},
            indent=1,
        )
        copied.append(run)
    return copied


def _finished(folders: Sequence[str]) -> dict[Path, dict[str, Any]]:
    """Returns the settings of every finished run."""
    found = {}
    for folder in folders:
        if not os.path.isdir(folder):
            raise UserError(f"--reuse {folder}: there is no such folder")
        for path in sorted(Path(folder).resolve().rglob(RESULT_FILE)):
            if (path.parent / SETTINGS_FILE).is_file():
                found[path.parent] = read_json(path.parent / SETTINGS_FILE)
    return found


def _find(run: Run, found: dict[Path, dict[str, Any]]) -> Path | None:
    for folder, settings in found.items():
        if find_difference(settings, run.settings, run.defaults) is None:
            return folder
    return None
