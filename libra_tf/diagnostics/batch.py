"""What one batch adds to the measures: numbers that add up over batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
import tf_keras

from libra_tf.diagnostics import forward, negatives
from libra_tf.diagnostics.gradients import gradient_sums
from libra_tf.diagnostics.levels import is_pyramid, level_sums, visible_size
from libra_tf.diagnostics.objective import BoxLosses


def batch_sums(
    model: tf_keras.Model, task: Any, losses: BoxLosses
) -> Callable[..., dict[str, Any]]:
    """Returns the function that measures a batch.

    Args:
        model: the detector.
        task: its task's settings.
        losses: box losses to compare.

    Returns:
        `(images, labels, seed) -> sums`: `sample` (with proposals only), `objective` by
        loss, and `feature`, `before` and (with a neck) `after`.
    """

    def measure(
        images: tf.Tensor, labels: Mapping[str, Any], seed: tf.Tensor
    ) -> dict[str, Any]:
        outputs, pyramids = forward.run_detector(model, images, labels)
        sums = {"feature": _feature(pyramids, images, labels)}
        if task.is_two_stage:
            sampler = task.model.roi_sampler
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


def _feature(
    pyramids: forward.Pyramids, images: tf.Tensor, labels: Mapping[str, Any]
) -> dict[str, Any]:
    size = visible_size(labels["image_info"])
    return {
        name: level_sums(features, size, images.shape[1:3])
        for name, features in pyramids._asdict().items()
        if features is not None and is_pyramid(features)
    }
