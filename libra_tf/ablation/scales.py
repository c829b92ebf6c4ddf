"""Scales of a plan: as the rows are written, or made small for two cores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from libra_tf.ablation.plan import Plan, Row
from libra_tf.errors import UserError
from libra_tf.experiments.files import find_config
from libra_tf.experiments.resolve import resolve
from libra_tf.experiments.saved import load_experiment, override, parse_override
from libra_tf.training.compare_settings import default_settings, setting_at

# The file that makes the detector of an experiment small.
OVERLAYS = {
    "libra_fasterrcnn_resnetfpn_coco": "two_core/fasterrcnn",
    "libra_retinanet_resnetfpn_coco": "two_core/retinanet",
}
_STEPS = "trainer.train_steps"
# Lengths that follow the number of steps where they were equal to it.
_LENGTHS = (
    "trainer.optimizer_config.learning_rate.cosine.decay_steps",
    "trainer.validation_interval",
)


def layers(
    plan: Plan, row: Row, scale: str, overrides: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Returns a row's config files and `a.b=value` overrides, in their order.

    Args:
        plan: for messages.
        row: one of its rows.
        scale: one of `plan.SCALES`.
        overrides: of the command line; they go last.

    Raises:
        UserError: a file or a setting does not exist; names the plan and the row.
    """
    where = f"{plan.path}: row {row.name}"
    files, own = list(row.configs), dict(row.settings)
    try:
        if scale == "two_core":
            files.append(_overlay(files))
            own |= row.two_core
        texts = [f"{key}={_yaml(value)}" for key, value in own.items()]
        before = load_experiment(None, [find_config(f) for f in files], texts)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    return files, [*texts, *_lengths(before, overrides), *overrides]


def load(
    files: Sequence[str], overrides: Sequence[str], data: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns all settings of a row with its data set, checked, and their defaults.

    Both are plain values; a default is what holds where nothing sets it, not even the
    experiment.
    """
    params = load_experiment(None, [find_config(f) for f in files], overrides)
    override(params, {"task": {"dataset": data}}, "--data")
    resolve(params)
    return params.as_dict(), default_settings(params)


def _overlay(files: Sequence[str]) -> str:
    experiment = load_experiment(None, [find_config(f) for f in files]).experiment
    if experiment not in OVERLAYS:
        raise UserError(
            f"experiment {experiment} has no two_core scale; there is one of "
            f"{', '.join(OVERLAYS)}"
        )
    return OVERLAYS[experiment]


def _lengths(before: Any, overrides: Sequence[str]) -> list[str]:
    """Settings equal to train_steps follow --set trainer.train_steps."""
    values: dict[str, Any] = {}
    for text in overrides:
        key, _, value = text.partition("=")
        values[key.strip()] = value
        parse_override(text)
    if _STEPS not in values:
        return []
    steps, settings = before.trainer.train_steps, before.as_dict()
    return [
        f"{key}={values[_STEPS]}"
        for key in _LENGTHS
        if key not in values and setting_at(settings, key) == steps
    ]


def _yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")
