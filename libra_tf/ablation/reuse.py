"""Finished runs of other ablations with the same settings need not be made again."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from libra_tf.ablation.plan import Plan
from libra_tf.ablation.runs import RESULT_FILE, SETTINGS_FILE, Run
from libra_tf.errors import UserError
from libra_tf.evaluation.results import read_json, write_json


def reuse(
    plan: Plan, form: str, runs: Sequence[Run], folders: Sequence[str]
) -> list[Run]:
    """Copies results of equal settings, the seed included; returns the runs they fit.

    The tables of a paper share their baseline. A copied result keeps its numbers,
    date, commit and command, and says in `reused_from` where it was made.

    Args:
      plan: that the runs belong to.
      form: one of `forms.FORMS`.
      runs: those without a result are looked for.
      folders: below which finished runs are.

    Raises:
      UserError: a folder does not exist.
    """
    found = _finished(folders) if folders else {}
    copied = []
    for run in runs:
        source = found.get(_key(run.settings))
        if source is None or run.started:
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


def _finished(folders: Sequence[str]) -> dict[str, Path]:
    found = {}
    for folder in folders:
        if not os.path.isdir(folder):
            raise UserError(f"--reuse {folder}: there is no such folder")
        for path in sorted(Path(folder).resolve().rglob(RESULT_FILE)):
            if (path.parent / SETTINGS_FILE).is_file():
                key = _key(read_json(path.parent / SETTINGS_FILE))
                found.setdefault(key, path.parent)
    return found


def _key(settings: object) -> str:
    return json.dumps(settings, sort_keys=True)
