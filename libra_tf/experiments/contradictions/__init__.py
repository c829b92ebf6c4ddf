"""Settings that contradict each other, or would go wrong only much later: one table.

Its rows are in a file for each subject. The value of a single setting is checked
before, see `fields`.
"""

from __future__ import annotations

from libra_tf.experiments.contradictions.contradiction import check
from libra_tf.experiments.contradictions.detector import DETECTOR
from libra_tf.experiments.contradictions.one_stage import ONE_STAGE
from libra_tf.experiments.contradictions.run import RUN
from libra_tf.experiments.contradictions.two_stage import TWO_STAGE
from libra_tf.experiments.task_config import ExperimentConfig


def check_detector(params: ExperimentConfig) -> None:
    """Raises `UserError` for the first contradiction within model and losses."""
    of_its_kind = TWO_STAGE if params.task.is_two_stage else ONE_STAGE
    check(DETECTOR + of_its_kind, params, params.task.model, params.task.losses)


def check_experiment(params: ExperimentConfig) -> None:
    """Raises `UserError` for the first contradiction in a resolved experiment."""
    check_detector(params)
    check(RUN, params, params)
