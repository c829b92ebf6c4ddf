"""A row of the table of contradictions, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from official.modeling import hyperparams

from libra_tf.errors import UserError
from libra_tf.experiments.task_config import ExperimentConfig


class Contradiction(NamedTuple):
    """Settings that do not go together.

    Attributes:
        name: what it is about.
        exists: whether it is there, between the settings of a model and of its losses
            or in a whole experiment.
        message: template over `task`, `trainer` and `runtime` of what is said then: the
            field, its value and what to do.
    """

    name: str
    exists: Callable[..., bool]
    message: str


def check(
    table: Iterable[Contradiction],
    params: ExperimentConfig,
    *settings: hyperparams.Config,
) -> None:
    """Raises `UserError` for the first row that `settings` of `params` contradict."""
    for row in table:
        if row.exists(*settings):
            raise UserError(
                row.message.format(
                    task=params.task, trainer=params.trainer, runtime=params.runtime
                )
            )
