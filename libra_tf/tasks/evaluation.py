"""Shared by the tasks: the evaluator that takes the place of Model Garden's."""

from __future__ import annotations

from libra_tf.evaluation.evaluator import CocoEvaluator


def build_evaluator(task_config, *, include_mask: bool, proposals: bool):
    """Returns the COCO evaluator that a task's settings describe."""
    names = dict(enumerate(task_config.class_names))
    return CocoEvaluator(
        annotation_file=task_config.annotation_file or None,
        include_mask=include_mask,
        max_detections=task_config.max_num_eval_detections,
        class_names={i: name for i, name in names.items() if i and name} or None,
        evaluate_proposals=proposals,
    )
