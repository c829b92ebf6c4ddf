"""Finished runs of other ablations with the same settings need not be made again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from libra_tf.ablation.plan import Plan
from libra_tf.ablation.runs import RESULT_FILE, SETTINGS_FILE, Run
from libra_tf.errors import UserError
from libra_tf.files.json_files import read_json, write_json


def reuse(
    plan: Plan, form: str, runs: Sequence[Run], folders: Sequence[str]
) -> list[Run]:
    """Copies results of equal settings, the seed included; returns the runs they fit.

    The tables of a paper share their baseline. A copied result keeps its numbers,
    date, commit and command, and says in `reused_from` where it was made. A setting
    that the version which made it did not have yet is equal if it is at its default.

    Args:
        plan: that the runs belong to.
        form: one of `forms.FORMS`.
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
        result = read_json(source / RESULT_FILE)
        changed = {"plan": plan.name, "form": form, "row": run.row}
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
    wanted = _set(run.settings, run.defaults)
    for folder, settings in found.items():
        if _set(settings, run.defaults) == wanted:
            return folder
    return None


def _set(settings: dict[str, Any], defaults: Any) -> dict[str, Any]:
    """Returns what is not at its default."""
    known = defaults if isinstance(defaults, dict) else {}
    changed = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            if inner := _set(value, known.get(key)):
                changed[key] = inner
        elif key not in known or value != known[key]:
            changed[key] = value
    return changed
