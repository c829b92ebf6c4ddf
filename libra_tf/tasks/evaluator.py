"""Shared by the tasks: the evaluator that takes the place of Model Garden's."""

from __future__ import annotations

import numpy as np

from libra_tf.evaluation.evaluator import CocoEvaluator
from libra_tf.evaluation.proposals import PAPER_NUMBERS
from libra_tf.experiments.task_config import (
    MaskRCNNTask,
    RetinaNetTask,
    known_metrics,
    names_by_id,
)


def with_undefined(logs: dict, include_mask: bool = False) -> dict:
    """Returns metrics of an evaluation, with -1 for an AP that is not defined."""
    # Always logged, since a best checkpoint may be chosen by them; -1 where there is no
    # object, as pycocotools has it.
    return dict.fromkeys(known_metrics(include_mask), np.float32(-1)) | dict(logs)


def proposal_numbers(num_proposals: int) -> tuple[int, ...]:
    """Returns how many proposals to compute recall for, of those there are."""
    numbers = tuple(n for n in PAPER_NUMBERS if n <= num_proposals)
    return numbers or (num_proposals,)


def build_evaluator(
    task_config: MaskRCNNTask | RetinaNetTask,
    *,
    include_mask: bool,
    proposals: tuple[int, ...] = (),
) -> CocoEvaluator:
    """Returns the COCO evaluator that a task's settings describe.

    Args:
        task_config: settings of a task.
        include_mask: evaluate masks too.
        proposals: numbers of proposals to compute recall for.
    """
    return CocoEvaluator(
        annotation_file=task_config.annotation_file or None,
        include_mask=include_mask,
        max_detections=task_config.max_num_eval_detections,
        class_names=names_by_id(task_config) or None,
        proposal_numbers=proposals,
    )
