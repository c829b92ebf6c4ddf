"""A row of the table of contradictions, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from official.modeling import hyperparams

from libra_tf.errors import UserError
from libra_tf.experiments.task_config import ExperimentConfig


class Rule(NamedTuple):
    """A contradiction.

    Attributes:
        name: what it is about.
        broken: whether there is this contradiction between the settings of a model and
            of its losses, or in a whole experiment.
        message: template over `task`, `trainer` and `runtime` of what is said then: the
            field, its value and what to do.
    """

    name: str
    broken: Callable[..., bool]
    message: str


def check(
    rules: Iterable[Rule], params: ExperimentConfig, *settings: hyperparams.Config
) -> None:
    """Raises `UserError` for the first rule that `settings` of `params` break."""
    for rule in rules:
        if rule.broken(*settings):
            raise UserError(
                rule.message.format(
                    task=params.task, trainer=params.trainer, runtime=params.runtime
                )
            )
