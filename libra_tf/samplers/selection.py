"""Label candidate regions by their IoU and choose a subset.

Shape shorthand in this module:
    B: images in the batch.
    N: candidate boxes per image (proposals, then the ground truth if mixed in).
    M: ground-truth boxes per image, padded with -1.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from libra_tf.ops import sampling
from libra_tf.samplers.matching import has_area, match, pad_rows
from libra_tf.samplers.mining import MinedRoIs, best_foreground, class_losses
from libra_tf.samplers.rule import SamplingRule
from libra_tf.samplers.score_ranked import isr_negative_sample


class RoISelection(NamedTuple):
    """What a sampler saw and chose.

    Attributes:
        boxes: [B, N, 4], the candidates.
        iou: `float32` [B, N], highest IoU with the ground truth; 0 for a valid box of
            an image without ground truth, -1 for padding and boxes without area.
        matched_gt_indices: `int32` [B, N], the ground-truth box of that IoU.
        positive: `bool` [B, N], candidates that are an object.
        negative: `bool` [B, N], those that are none. What is neither is ignored.
        chosen_positive: `bool` [B, N], the drawn part of `positive`.
        chosen_negative: `bool` [B, N], the drawn part of `negative`.
        weights: `float32` [B, N], of the class loss of each candidate; 1 unless the
            sampler ranks what it chooses.
    """

    boxes: tf.Tensor
    iou: tf.Tensor
    matched_gt_indices: tf.Tensor
    positive: tf.Tensor
    negative: tf.Tensor
    chosen_positive: tf.Tensor
    chosen_negative: tf.Tensor
    weights: tf.Tensor


class _Labels(NamedTuple):
    """Candidates before the draw; see `RoISelection`. `losses` is None if not mined."""

    iou: tf.Tensor
    matched_gt_indices: tf.Tensor
    positive: tf.Tensor
    negative: tf.Tensor
    losses: tf.Tensor | None


def select_rois(
    boxes: tf.Tensor,
    gt_boxes: tf.Tensor,
    *,
    rule: SamplingRule,
    gt_classes: tf.Tensor | None = None,
    mined: MinedRoIs | None = None,
    seed: tf.Tensor,
) -> RoISelection:
    """Labels candidates by their IoU with the ground truth and draws a subset.

        n_pos = min(#positive, int(num_sampled_rois * foreground_fraction))
        n_neg = min(#negative, num_sampled_rois - n_pos)

    Args:
        boxes: [B, N, 4], candidates, yxyx in pixels. Padding (-1) and boxes without
            area (what non-maximum suppression pads with) are never drawn.
        gt_boxes: [B, M, 4], yxyx in pixels, padded with -1.
        rule: how to choose.
        gt_classes: [B, M], needed with `mined`.
        mined: the head's answer for every candidate; needed by "hardest" and
            "score_ranked".
        seed: integer tensor [2].

    Returns:
        A `RoISelection`. No gradient flows through it.

    Raises:
        ValueError: the rule needs what is not given.

    References: see `ops.sampling` and `samplers.score_ranked`.
    """
    if rule.is_mined and (mined is None or gt_classes is None):
        raise ValueError(
            f"positives {rule.positives!r} and negatives {rule.negatives!r} "
            "need the head's answer for every candidate (mined) and gt_classes"
        )
    mined = mined if rule.is_mined else None
    boxes, gt_boxes = tf.stop_gradient(boxes), tf.stop_gradient(gt_boxes)
    labels = _label(boxes, gt_boxes, gt_classes, rule, mined)
    chosen_positive, chosen_negative, weights = _choose(labels, rule, mined, seed)
    return RoISelection(
        boxes=boxes,
        iou=labels.iou,
        matched_gt_indices=labels.matched_gt_indices,
        positive=labels.positive,
        negative=labels.negative,
        chosen_positive=chosen_positive,
        chosen_negative=chosen_negative,
        weights=weights,
    )


def _label(
    boxes: tf.Tensor,
    gt_boxes: tf.Tensor,
    gt_classes: tf.Tensor | None,
    rule: SamplingRule,
    mined: MinedRoIs | None,
) -> _Labels:
    valid = has_area(boxes)
    iou, matched = match(boxes, gt_boxes, valid)
    positive = valid & (iou >= rule.foreground_iou_threshold)
    above_low = iou >= rule.background_iou_low_threshold
    negative = valid & above_low & (iou < rule.background_iou_high_threshold)
    losses = None
    if mined is not None:
        classes = pad_rows(gt_classes, 1)
        losses = tf.stop_gradient(
            class_losses(mined.class_logits, classes, matched, positive)
        )
    return _Labels(iou, matched, positive, negative, losses)


def _choose(
    labels: _Labels, rule: SamplingRule, mined: MinedRoIs | None, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Chosen positives, chosen negatives and class loss weights, each [B, N]."""
    ones = tf.ones_like(labels.iou)
    if rule.draws_nothing:
        return labels.positive, labels.negative, ones
    if rule.without_quota:
        both = labels.positive | labels.negative
        hardest = sampling.hardest(labels.losses, both, rule.num_sampled_rois)
        return hardest & labels.positive, hardest & labels.negative, ones
    seeds = tf.random.experimental.stateless_split(seed, 2, alg="philox")
    positive = _choose_positives(labels, rule, seeds[0])
    wanted = rule.num_sampled_rois - tf.reduce_sum(tf.cast(positive, tf.int32), 1)
    if mined is not None and rule.negatives == "score_ranked":
        negative, weights = isr_negative_sample(
            best_foreground(mined.class_logits)[1],
            mined.boxes,
            labels.negative,
            wanted,
            labels.losses,
            k=rule.k,
            bias=rule.bias,
            score_threshold=rule.score_threshold,
            iou_threshold=rule.group_iou_threshold,
            seed=seeds[1],
        )
        return positive, negative, tf.where(negative, weights, ones)
    return positive, _choose_negatives(labels, rule, wanted, seeds[1]), ones


def _choose_positives(
    labels: _Labels, rule: SamplingRule, seed: tf.Tensor
) -> tf.Tensor:
    quota = int(rule.num_sampled_rois * rule.foreground_fraction)
    if rule.positives == "hardest":
        return sampling.hardest(labels.losses, labels.positive, quota)
    if rule.positives == "instance_balanced":
        return sampling.instance_balanced(
            labels.matched_gt_indices, labels.positive, quota, seed=seed
        )
    return sampling.uniform(labels.positive, quota, seed=seed)


def _choose_negatives(
    labels: _Labels, rule: SamplingRule, wanted: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    iou, negative, bins = labels.iou, labels.negative, rule.num_bins
    if rule.negatives == "hardest":
        return sampling.hardest(labels.losses, negative, wanted)
    if rule.negatives == "iou_balanced":
        upper = rule.background_iou_high_threshold
        return sampling.iou_balanced(
            iou, negative, wanted, upper=upper, num_bins=bins, seed=seed
        )
    if rule.negatives == "iou_balanced_published":
        max_iou = tf.reduce_max(iou, axis=1)
        return sampling.iou_balanced_published(
            iou, negative, wanted, max_iou=max_iou, num_bins=bins, seed=seed
        )
    return sampling.uniform(negative, wanted, seed=seed)
