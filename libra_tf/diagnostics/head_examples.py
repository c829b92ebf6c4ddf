"""Sample level: the examples that train each head, by level, class and object.

Each function returns numbers of a batch that add up over batches and replicas:
`positives` and `negatives` [L] by level of the pyramid; `classes` [C], positives by
class (not of the RPN, which has one); `objects`, see `examples.object_sums`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from libra_tf.criteria.dense_batch import Dense
from libra_tf.criteria.rcnn_terms import flatten_levels
from libra_tf.diagnostics import examples
from libra_tf.ops.boxes import decode_deltas
from libra_tf.ops.roi_align import assign_levels
from libra_tf.samplers import RoISelection

# Side of a square that is just of a level, in cells of that level: 224 pixels of level
# 4 (Feature Pyramid Networks, eq. 1).
_ROI_CELLS = 14


def rpn_examples(labels: Mapping[str, Any]) -> dict[str, Any]:
    """Of the anchors that were sampled for the RPN."""
    targets = labels["rpn_score_targets"]
    levels = sorted(targets, key=int)
    joined = flatten_levels(targets)
    positive, negative = tf.equal(joined, 1), tf.equal(joined, 0)
    sizes = [flatten_levels({level: targets[level]}).shape[1] for level in levels]
    row = examples.level_of_anchors(sizes, tf.shape(joined)[0])
    boxes, image = _target_boxes(
        labels["rpn_box_targets"], labels["anchor_boxes"], positive
    )
    instance = examples.nearest_object(boxes, image, labels["gt_boxes"])
    return {
        "positives": examples.count_by(row, positive, len(levels)),
        "negatives": examples.count_by(row, negative, len(levels)),
        "objects": examples.object_sums(image, instance, labels["gt_boxes"]),
    }


def roi_examples(
    selection: RoISelection,
    labels: Mapping[str, Any],
    num_classes: int,
    levels: Sequence[str],
) -> dict[str, Any]:
    """Of the RoIs that were chosen for the R-CNN head."""
    finest = min(map(int, levels))
    row = assign_levels(
        tf.cast(selection.boxes, tf.float32), len(levels), _ROI_CELLS * 2**finest
    )
    positive, matched = selection.chosen_positive, selection.matched_gt_indices
    gt_classes = examples.pad_rows(labels["gt_classes"], 1)
    rows = tf.cast(tf.where(positive), tf.int32)
    return {
        "positives": examples.count_by(row, positive, len(levels)),
        "negatives": examples.count_by(row, selection.chosen_negative, len(levels)),
        "classes": examples.count_by(
            tf.gather(gt_classes, matched, batch_dims=1), positive, num_classes
        ),
        "objects": examples.object_sums(
            rows[:, 0], tf.gather_nd(matched, rows), labels["gt_boxes"]
        ),
    }


def anchor_examples(dense: Dense, labels: Mapping[str, Any]) -> dict[str, Any]:
    """Of the anchors of one stage, which all train but the ignored."""
    batch, count = tf.shape(dense.classes)[0], len(dense.level_sizes)
    row = examples.level_of_anchors(dense.level_sizes, batch)
    boxes, image = _target_boxes(
        labels["box_targets"],
        labels["anchor_boxes"],
        dense.positive,
        dense.delta_weights,
    )
    return {
        "positives": examples.count_by(row, dense.positive, count),
        "negatives": examples.count_by(row, dense.valid & ~dense.positive, count),
        "classes": examples.count_by(
            dense.classes, dense.positive, dense.logits.shape[-1]
        ),
        "objects": examples.distinct_object_sums(boxes, image, batch),
    }


def _target_boxes(
    targets: Mapping[str, tf.Tensor],
    anchors: Mapping[str, tf.Tensor],
    positive: tf.Tensor,
    weights: Sequence[float] | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Target boxes [P, 4] of the positives [B, N], and their images `int32` [P]."""
    rows = tf.where(positive)
    deltas, boxes = (
        tf.cast(tf.gather_nd(flatten_levels(part, 4), rows), tf.float32)
        for part in (targets, anchors)
    )
    return decode_deltas(deltas, boxes, weights=weights), tf.cast(rows[:, 0], tf.int32)
