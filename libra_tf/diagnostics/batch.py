"""What one batch adds to the measures: numbers that add up over batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
import tf_keras

from libra_tf.diagnostics import forward, negatives
from libra_tf.diagnostics.gradients import gradient_sums
from libra_tf.diagnostics.inspect_batch import inspect_batch
from libra_tf.diagnostics.objective import BoxLosses


def batch_sums(
    model: tf_keras.Model, task: Any, losses: BoxLosses
) -> Callable[..., dict[str, Any]]:
    """Returns the function that measures a batch.

    Args:
        model: the detector.
        task: its task.
        losses: box losses to compare.

    Returns:
        `(images, labels, seed) -> sums`: `own`, what the run's own settings make of the
        batch, see `inspect_batch`; and to compare settings, `sample` (with proposals
        only) by rule, and `objective` by loss.
    """

    def measure(
        images: tf.Tensor, labels: Mapping[str, Any], seed: tf.Tensor
    ) -> dict[str, Any]:
        seen = inspect_batch(model, task, losses, images, labels, seed)
        outputs, sums = seen.outputs, {"own": seen.sums}
        if model.is_two_stage:
            sampler = task.task_config.model.roi_sampler
            boxes = forward.candidates(model, outputs, labels, sampler.mix_gt_boxes)
            heads = forward.run_head(model, outputs["decoder_features"], boxes)
            selection, masks = negatives.choose_negatives(
                boxes,
                labels["gt_boxes"],
                negatives.background_losses(heads.class_logits),
                seed=seed,
                rule=sampler.rule,
            )
            sums["sample"] = negatives.negative_sums(selection, masks)
            errors, positive = forward.rcnn_errors(selection, heads.deltas, labels)
        else:
            errors, positive = forward.anchor_errors(outputs, labels)
        sums["objective"] = {
            name: gradient_sums(errors, positive, loss, threshold=losses.threshold)
            for name, loss in losses.losses.items()
        }
        return sums

    return measure
