"""Label candidate regions by their IoU and choose a subset.

Shape shorthand in this module:
    B: images in the batch.
    N: candidate boxes per image (proposals, then the ground truth if mixed in).
    M: ground-truth boxes per image, padded with -1.
"""

from typing import NamedTuple

import tensorflow as tf

from libra_tf.ops import sampling
from libra_tf.ops.boxes import pairwise_iou

POSITIVES = ("random", "instance_balanced")
NEGATIVES = ("random", "iou_balanced", "iou_balanced_published")


class RoISelection(NamedTuple):
    """What a sampler saw and chose.

    Attributes:
        boxes: [B, N, 4], the candidates.
        iou: `float32` [B, N], highest IoU with the ground truth; 0 for a valid box of
            an image without ground truth, -1 for padding and boxes without area.
        matched_gt_indices: `int32` [B, N], the ground-truth box of that IoU.
        positive: `bool` [B, N], foreground candidates.
        negative: `bool` [B, N], background candidates. What is neither is ignored.
        chosen_positive: `bool` [B, N], the drawn part of `positive`.
        chosen_negative: `bool` [B, N], the drawn part of `negative`.
    """

    boxes: tf.Tensor
    iou: tf.Tensor
    matched_gt_indices: tf.Tensor
    positive: tf.Tensor
    negative: tf.Tensor
    chosen_positive: tf.Tensor
    chosen_negative: tf.Tensor


def select_rois(
    boxes: tf.Tensor,
    gt_boxes: tf.Tensor,
    *,
    num_sampled_rois: int = 512,
    foreground_fraction: float = 0.25,
    foreground_iou_threshold: float = 0.5,
    background_iou_high_threshold: float = 0.5,
    background_iou_low_threshold: float = 0.0,
    positives: str = "random",
    negatives: str = "random",
    num_bins: int = 3,
    seed: tf.Tensor,
) -> RoISelection:
    """Labels candidates by their IoU with the ground truth and draws a subset.

        n_pos = min(#positive, int(num_sampled_rois * foreground_fraction))
        n_neg = min(#negative, num_sampled_rois - n_pos)

    Args:
        boxes: [B, N, 4], candidates, yxyx in pixels. Padding (-1) and boxes without
            area (what non-maximum suppression pads with) are never drawn.
        gt_boxes: [B, M, 4], yxyx in pixels, padded with -1.
        num_sampled_rois: how many to draw per image.
        foreground_fraction: highest share of positives, in [0, 1].
        foreground_iou_threshold: positive is IoU >= this.
        background_iou_high_threshold: negative is IoU < this; between it and
            `foreground_iou_threshold` a box is ignored. End of the IoU bins.
        background_iou_low_threshold: negative is IoU >= this.
        positives: "random" or "instance_balanced".
        negatives: "random", "iou_balanced" or "iou_balanced_published".
        num_bins: IoU bins of the balanced negatives.
        seed: integer tensor [2].

    Returns:
        A `RoISelection`. No gradient flows through it.

    References: see `ops.sampling`.
    """
    boxes, gt_boxes = tf.stop_gradient(boxes), tf.stop_gradient(gt_boxes)
    valid = _has_area(boxes)
    iou, matched_gt_indices = _match(boxes, gt_boxes, valid)
    positive = valid & (iou >= foreground_iou_threshold)
    above_low = iou >= background_iou_low_threshold
    negative = valid & above_low & (iou < background_iou_high_threshold)
    seeds = tf.random.experimental.stateless_split(seed, 2, alg="philox")

    quota = int(num_sampled_rois * foreground_fraction)
    if positives == "instance_balanced":
        chosen_positive = sampling.instance_balanced(
            matched_gt_indices, positive, quota, seed=seeds[0]
        )
    else:
        chosen_positive = sampling.uniform(positive, quota, seed=seeds[0])

    wanted = num_sampled_rois - tf.reduce_sum(tf.cast(chosen_positive, tf.int32), 1)
    balance = {"num_bins": num_bins, "seed": seeds[1]}
    if negatives == "iou_balanced":
        upper = background_iou_high_threshold
        chosen_negative = sampling.iou_balanced(
            iou, negative, wanted, upper=upper, **balance
        )
    elif negatives == "iou_balanced_published":
        max_iou = tf.reduce_max(iou, axis=1)
        chosen_negative = sampling.iou_balanced_published(
            iou, negative, wanted, max_iou=max_iou, **balance
        )
    else:
        chosen_negative = sampling.uniform(negative, wanted, seed=seeds[1])
    return RoISelection(
        boxes=boxes,
        iou=iou,
        matched_gt_indices=matched_gt_indices,
        positive=positive,
        negative=negative,
        chosen_positive=chosen_positive,
        chosen_negative=chosen_negative,
    )


def _has_area(boxes: tf.Tensor) -> tf.Tensor:
    """Boxes that are neither padding nor empty."""
    sides = boxes[..., 2:] - boxes[..., :2]
    not_padding = tf.reduce_max(boxes, axis=-1) >= 0
    return not_padding & tf.reduce_all(sides > 0, axis=-1)


def _match(
    boxes: tf.Tensor, gt_boxes: tf.Tensor, valid: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Highest IoU of each box and the index of its ground-truth box."""
    overlaps = pairwise_iou(boxes, pad_rows(gt_boxes, 1))
    # -1 means padding on either side; a valid box beside no ground truth has IoU 0.
    iou = tf.where(valid, tf.maximum(tf.reduce_max(overlaps, axis=2), 0.0), -1.0)
    return iou, tf.argmax(overlaps, axis=2, output_type=tf.int32)


def pad_rows(x: tf.Tensor, rows: int) -> tf.Tensor:
    """Appends rows of -1 along axis 1 until there are at least `rows`."""
    size = x.shape[1]
    if size is None:
        missing = tf.maximum(rows - tf.shape(x)[1], 0)
    elif size >= rows:
        return x
    else:
        missing = rows - size
    paddings = [[0, 0], [0, missing]] + [[0, 0]] * (x.shape.rank - 2)
    return tf.pad(x, paddings, constant_values=-1)


def check_rule(
    num_sampled_rois: int,
    foreground_fraction: float,
    foreground_iou_threshold: float,
    background_iou_high_threshold: float,
    background_iou_low_threshold: float,
    positives: str,
    negatives: str,
    num_bins: int,
) -> None:
    """Raises `ValueError` for arguments of `select_rois` out of their range."""
    if num_sampled_rois < 1:
        raise ValueError(f"num_sampled_rois must be at least 1, got {num_sampled_rois}")
    if not 0 <= foreground_fraction <= 1:
        raise ValueError(
            f"foreground_fraction must be in [0, 1], got {foreground_fraction}"
        )
    low, high = background_iou_low_threshold, background_iou_high_threshold
    if not (0 <= low < high <= foreground_iou_threshold <= 1):
        raise ValueError(
            "the thresholds must keep 0 <= background_iou_low_threshold < "
            "background_iou_high_threshold <= foreground_iou_threshold <= 1, got "
            f"{low}, {high} and {foreground_iou_threshold}"
        )
    if positives not in POSITIVES:
        raise ValueError(
            f"positives must be one of {', '.join(POSITIVES)}, got {positives!r}"
        )
    if negatives not in NEGATIVES:
        raise ValueError(
            f"negatives must be one of {', '.join(NEGATIVES)}, got {negatives!r}"
        )
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
