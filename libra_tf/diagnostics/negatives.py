"""Sample level: how hard the negatives are that each sampler chooses.

Shape shorthand in this module:
    B: images in the batch.
    N: candidate boxes per image (proposals, then the ground truth if mixed in).
    M: ground-truth boxes per image, padded with -1.
    C: classes, 0 the background.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from libra_tf.ops import sampling
from libra_tf.samplers import RoISelection, SamplingRule, select_rois

# Libra R-CNN, section 3.1 and figure 3: most hard negatives have a larger IoU.
HARD_IOU = 0.05
IOU_EDGES = (0.0, HARD_IOU, 0.1, 0.2, 0.3, 0.4, 0.5)

# Rules of `select_rois` that draw by IoU or not at all.
DRAWN = ("random", "iou_balanced", "iou_balanced_published")
POOL, HARDEST = "all", "hardest"


def background_losses(class_logits: tf.Tensor) -> tf.Tensor:
    """Softmax cross entropy of each candidate [B, N, C] as background: [B, N]."""
    return -tf.nn.log_softmax(tf.cast(class_logits, tf.float32))[..., 0]


def count_by_iou(iou: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Counts the chosen candidates between neighbouring `IOU_EDGES`.

        (edge_i, edge_i+1]    the first with 0, the last without an upper end

    Args:
        iou: [B, N], highest IoU of each candidate with the ground truth.
        chosen: `bool` [B, N].

    Returns:
        `int32` [len(IOU_EDGES) - 1], over all images.
    """
    inner = tf.constant(IOU_EDGES[1:-1], iou.dtype)
    bins = tf.reduce_sum(tf.cast(iou[..., tf.newaxis] > inner, tf.int32), axis=-1)
    one_hot = tf.one_hot(bins, len(IOU_EDGES) - 1, dtype=tf.int32)
    counted = tf.where(chosen[..., tf.newaxis], one_hot, tf.zeros_like(one_hot))
    return tf.reduce_sum(counted, axis=[0, 1])


def choose_negatives(
    boxes: tf.Tensor,
    gt_boxes: tf.Tensor,
    losses: tf.Tensor,
    *,
    rule: SamplingRule,
    seed: tf.Tensor,
) -> tuple[RoISelection, dict[str, tf.Tensor]]:
    """Chooses the same number of negatives by each rule.

    Args:
        boxes: [B, N, 4], candidates, yxyx in pixels, padding as for `select_rois`.
        gt_boxes: [B, M, 4], padded with -1.
        losses: [B, N], class loss of each candidate as background.
        rule: thresholds, quotas and bins of all rules; how it draws is compared.
        seed: integer tensor [2]; all rules draw with it, and draw the same positives.

    Returns:
        The selection of the random rule, and rule to mask [B, N]: all negatives,
        each rule of `DRAWN`, and those of highest loss.
    """
    rule = dataclasses.replace(
        rule, positives="random", negatives="random", without_quota=False
    )
    rules = {name: dataclasses.replace(rule, negatives=name) for name in DRAWN}
    drawn = {
        name: select_rois(boxes, gt_boxes, rule=each, seed=seed)
        for name, each in rules.items()
    }
    first = drawn[DRAWN[0]]
    masks = {POOL: first.negative}
    masks |= {name: selection.chosen_negative for name, selection in drawn.items()}
    masks[HARDEST] = sampling.hardest(
        losses, first.negative, _per_image(first.chosen_negative)
    )
    return first, masks


def negative_sums(
    selection: RoISelection, masks: Mapping[str, tf.Tensor]
) -> dict[str, Any]:
    """Numbers of a batch that add up over batches; see `choose_negatives`."""
    negatives, chosen = map(_per_image, (selection.negative, selection.chosen_negative))
    valid = _per_image(selection.iou >= 0)  # -1 is padding
    return {
        "images": tf.size(negatives),
        "with_choice": _total(negatives > chosen),
        "candidates": tf.reduce_sum(valid),
        "positives": _total(selection.positive),
        "negatives": tf.reduce_sum(negatives),
        "chosen": tf.reduce_sum(chosen),
        "counts": {
            name: count_by_iou(selection.iou, mask) for name, mask in masks.items()
        },
    }


def summarize_negatives(sums: Mapping[str, Any]) -> dict[str, Any]:
    """Turns added `negative_sums` into means per image and shares.

    Returns:
        `candidates`, `positives`, `negatives` and `chosen` (negatives) per image;
        `images_with_choice`, the share of images with more negatives than are chosen
        (in the others all rules choose the same); `iou_edges`; and for each rule
        `histogram`, shares that add up to 1, and `above`, the share with an IoU above
        `HARD_IOU` (None without any negative).
    """
    images = max(float(sums["images"]), 1.0)
    means = {
        name: float(sums[name]) / images
        for name in ("candidates", "positives", "negatives", "chosen")
    }
    rules = {name: _shares(counts) for name, counts in sums["counts"].items()}
    return {
        "per_image": means,
        "images_with_choice": float(sums["with_choice"]) / images,
        "iou_edges": list(IOU_EDGES),
        "rules": rules,
    }


def _shares(counts: np.ndarray) -> dict[str, Any]:
    total = float(np.sum(counts))
    if not total:
        return {"above": None, "histogram": None}
    histogram = [float(count) / total for count in counts]
    return {"above": float(np.sum(counts[1:])) / total, "histogram": histogram}


def _per_image(mask: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)


def _total(mask: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(mask, tf.int32))
