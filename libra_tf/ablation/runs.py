"""The training runs of an ablation: what they are, and what is done of them."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from libra_tf.ablation import scales
from libra_tf.ablation.plan import Plan, Row
from libra_tf.errors import UserError
from libra_tf.files.json_files import read_json, write_json
from libra_tf.training.compare_settings import find_difference

RESULT_FILE = "result.json"
# What tables look up in it.
RESULT_KEYS = {
    "plan", "scale", "row", "seed", "metrics", "steps", "commit", "command", "cores",
    "cpu",
}  # fmt: skip
_CURE = "remove the file, and the run is done again"
SETTINGS_FILE = "settings.json"
LOG_FILE = "log.txt"


@dataclasses.dataclass(frozen=True)
class Run:
    """One training: a row and a seed.

    Attributes:
        row: name of the row.
        seed: of initial weights, data order and samplers.
        folder: where it trains.
        words: command line of `libra train`, after the interpreter.
        settings: all settings of the experiment.
        defaults: what a setting is where nothing sets it.
    """

    row: str
    seed: int
    folder: str
    words: tuple[str, ...]
    settings: dict[str, Any]
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.row} seed {self.seed}"

    @property
    def command(self) -> str:
        """The run's command line, to be read and repeated."""
        return shlex.join(["libra", *self.words])

    @property
    def process_words(self) -> list[str]:
        """The same for `subprocess`."""
        return [sys.executable, "-m", "libra_tf.commands.main", *self.words]

    @property
    def result(self) -> dict[str, Any] | None:
        """What the finished run gave; None if it has not finished."""
        path = os.path.join(self.folder, RESULT_FILE)
        return read_result(path) if os.path.isfile(path) else None

    @property
    def started(self) -> bool:
        """Whether it was begun, now or by an earlier command."""
        return os.path.isfile(os.path.join(self.folder, SETTINGS_FILE))


def read_result(path: str | os.PathLike) -> dict[str, Any]:
    """Reads what a finished run gave.

    Raises:
        UserError: it is not what `write_result` writes.
    """
    result = read_json(path)
    if not isinstance(result, dict):
        raise UserError(f"{path}: is not the result of a run; {_CURE}")
    result = with_scale(result)
    missing = sorted(RESULT_KEYS - result.keys())
    if missing:
        raise UserError(f"{path}: has no {missing[0]!r}; {_CURE}")
    metrics = result["metrics"]
    if not isinstance(metrics, dict) or not all(
        isinstance(value, int | float) for value in metrics.values()
    ):
        raise UserError(f"{path}: metrics are not numbers by name; {_CURE}")
    return result


def with_scale(result: dict[str, Any]) -> dict[str, Any]:
    """Returns a result under today's names; `scale` was called `form` at first."""
    return {("scale" if key == "form" else key): v for key, v in result.items()}


def build_runs(
    plan: Plan,
    rows: Sequence[Row],
    seeds: Sequence[int],
    *,
    scale: str,
    data: str,
    out: str,
    overrides: Sequence[str] = (),
) -> list[Run]:
    """Returns the runs, all rows of the first seed first.

    So an ablation that is stopped half-way has whole pairs to compare.

    Raises:
        UserError: a row names a file or a setting that does not exist.
    """
    made: dict[str, tuple[list[str], list[str], dict[str, Any], dict[str, Any]]] = {}
    for row in rows:
        files, texts = scales.layers(plan, row, scale, overrides)
        try:
            made[row.name] = files, texts, *scales.load(files, texts, data)
        except UserError as error:
            raise UserError(f"{plan.path}: row {row.name}: {error}") from error
    return [
        _run(row.name, seed, *made[row.name], data, os.path.join(out, "runs"))
        for seed in seeds
        for row in rows
    ]


def _run(
    row: str,
    seed: int,
    files: list[str],
    texts: list[str],
    settings: dict[str, Any],
    defaults: dict[str, Any],
    data: str,
    root: str,
) -> Run:
    folder = os.path.join(root, row, f"seed{seed}")
    words = ["train"]
    for name in files:
        words += ["--config", name]
    for text in texts:
        words += ["--set", text]
    words += ["--data", data, "--seed", str(seed), "--out", folder]
    trainer = {**settings["trainer"], "seed": seed}
    settings = {**settings, "trainer": trainer}
    return Run(row, seed, folder, tuple(words), _plain(settings), _plain(defaults))


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """As read back from JSON, so that tuples and lists compare as equal."""
    return json.loads(json.dumps(settings))


def begin(run: Run) -> None:
    """Makes the run's folder and keeps its settings, for the next command."""
    write_json(os.path.join(run.folder, SETTINGS_FILE), run.settings, indent=1)


def check_settings(runs: Sequence[Run], force: bool) -> None:
    """Refuses to go on with runs that were begun with other settings.

    Args:
        runs: those asked for.
        force: remove such runs instead, so that they are made again.

    Raises:
        UserError: names the run and the first setting that differs.
    """
    for run in runs:
        if not run.started:
            if os.path.isdir(run.folder) and os.listdir(run.folder):
                raise UserError(
                    f"{run.folder}: holds files, but no run of `libra ablate`; give "
                    "another --out"
                )
            continue
        before = read_json(os.path.join(run.folder, SETTINGS_FILE))
        difference = find_difference(before, run.settings, run.defaults)
        if difference is None:
            continue
        if not force:
            raise UserError(
                f"{run.folder}: was made with {difference}; give another --out, the "
                "same settings, or --force to make such runs again"
            )
        shutil.rmtree(run.folder)
