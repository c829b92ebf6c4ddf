"""Hierarchical local rank (HLR): the best of every object before any second best.

Shape shorthand in this module:
    B: images in the batch.
    N: examples (of the whole batch in `iou_hierarchical_rank`, per image in
        `score_hierarchical_rank`).

Both ranks sort by (local rank, value): examples are ranked by their value within their
group, then the groups' first ones by value, then all second ones, and so on. The
published code sorts by one sum, value + (count - local rank), which float32 blurs once
the count is large; sorted as a pair it is exact. Of equals the lowest index is first
(the published order of equals is undefined).

Reference:
    Cao et al., "Prime Sample Attention in Object Detection" (PISA), CVPR 2020: IoU-HLR
    and Score-HLR.
"""

import tensorflow as tf

from libra_tf.ops import ranking
from libra_tf.ops.boxes import pairwise_iou

# mmdetection's ScoreHLRSampler.
IOU_THRESHOLD = 0.5


def iou_hierarchical_rank(
    iou: tf.Tensor, classes: tf.Tensor, instances: tf.Tensor, positive: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """IoU-HLR: ranks the positives of each class, over the whole batch.

    Args:
        iou: [N], IoU of each predicted box with its ground truth, in [0, 1]. NaN counts
            as the lowest.
        classes: integers [N], the class of the matched ground truth, below int32.max.
        instances: integers [N], the matched ground truth, one number for each (image,
            ground truth) of the batch, below int32.max. (The published code adds the
            last number of only the previous image, so that with three images two
            objects can share one.)
        positive: `bool` [N]. Nothing else is looked at where it is false.

    Returns:
        The rank `int32` [N] from 0 (the best) among the positives of the class, any
        value for what is not positive; and `int32` [], the number of positives in the
        class that has most of them. No gradient flows through them.

    Raises:
        ValueError: if the arguments do not have the same shape [N].
    """
    iou = tf.cast(tf.stop_gradient(iou), tf.float32)
    _check_flat(iou=iou, classes=classes, instances=instances, positive=positive)
    iou = tf.where(tf.math.is_nan(iou), -1.0, iou)
    by_iou = tf.argsort(iou, direction="DESCENDING", stable=True)
    local_rank = _rank_in_order(by_iou, instances, positive)
    by_local_rank = tf.gather(
        by_iou, tf.argsort(tf.gather(local_rank, by_iou), stable=True)
    )
    rank = _rank_in_order(by_local_rank, classes, positive)
    # The last rank of a class tells how many it has. (The 0 is for N = 0.)
    counts = tf.where(positive, rank + 1, 0)
    return rank, tf.reduce_max(tf.concat([counts, [0]], axis=0))


def score_hierarchical_rank(
    scores: tf.Tensor,
    boxes: tf.Tensor,
    valid: tf.Tensor,
    *,
    iou_threshold: float = IOU_THRESHOLD,
) -> tf.Tensor:
    """Score-HLR: ranks the valid boxes of each image, grouped by their overlap.

    The groups are what non-maximum suppression would merge: in order of the score, a
    box that is in no group yet starts one, which every ungrouped box with IoU >=
    `iou_threshold` joins, whatever its class.

    Args:
        scores: [B, N], highest foreground score of each box. NaN counts as the lowest.
        boxes: [B, N, 4], predicted boxes, yxyx in pixels. One that lies wholly at
            negative coordinates overlaps nothing, as padding does.
        valid: `bool` [B, N], what is ranked.
        iou_threshold: in (0, 1].

    Returns:
        `int32` [B, N], the rank from 0 (the best) in the image; what is not valid
        follows after all that is. No gradient flows through it.

    Raises:
        ValueError: if the shapes disagree or `iou_threshold` is out of its range.
    """
    scores = tf.cast(tf.stop_gradient(scores), tf.float32)
    boxes, valid = tf.stop_gradient(boxes), tf.convert_to_tensor(valid)
    _check_images(scores, boxes, valid)
    if not 0 < iou_threshold <= 1:
        raise ValueError(f"iou_threshold must be in (0, 1], got {iou_threshold}")
    lowest = scores.dtype.min
    scores = tf.where(scores > lowest, scores, lowest)  # false for NaN
    scores = tf.where(valid, scores, -float("inf"))
    by_score = tf.argsort(scores, direction="DESCENDING", stable=True)
    boxes = tf.gather(boxes, by_score, batch_dims=1)
    valid = tf.gather(valid, by_score, batch_dims=1)

    position = tf.range(tf.shape(scores)[1])[tf.newaxis, :] + tf.zeros_like(by_score)
    heads = _greedy_groups(boxes, valid, iou_threshold)
    local_rank, _ = ranking.rank_in_group(position, heads, valid)
    local_rank = tf.where(valid, local_rank, local_rank.dtype.max)
    by_local_rank = tf.argsort(local_rank, stable=True)
    order = tf.gather(by_score, by_local_rank, batch_dims=1)
    return tf.argsort(order)  # the inverse permutation: the rank of each box


def _rank_in_order(
    order: tf.Tensor, groups: tf.Tensor, members: tf.Tensor
) -> tf.Tensor:
    """Place of each member among its group, the members taken in the given order.

    Flat, and with half the sorts of `ranking.rank_in_group`: N is all anchors of a
    batch for a one-stage detector, and the sorts are what takes the time.
    """
    groups = tf.cast(groups, tf.int32)
    groups = tf.where(members, groups, groups.dtype.max)
    order = tf.gather(order, tf.argsort(tf.gather(groups, order), stable=True))
    groups = tf.gather(groups, order)
    is_new = groups[1:] != groups[:-1]
    starts = tf.concat([tf.ones_like(groups[:1], tf.bool), is_new], axis=0)
    ordinal = tf.cumsum(tf.cast(starts, tf.int32)) - 1
    size = tf.shape(order)[0]
    position = tf.range(size)
    first = tf.math.unsorted_segment_min(position, ordinal, size)
    ranks = position - tf.gather(first, ordinal)
    return tf.scatter_nd(order[:, tf.newaxis], ranks, tf.shape(order))


def _greedy_groups(
    boxes: tf.Tensor, valid: tf.Tensor, iou_threshold: float
) -> tf.Tensor:
    """`int32` [B, N], the head of each valid box; the boxes are in order of the score.

    One turn of the loop takes one head of every image and its IoU with all boxes. All
    IoU [B, N, N] in advance cost about the same on a CPU if few boxes overlap, several
    times as much if many do.
    """
    position = tf.range(tf.shape(valid)[1])[tf.newaxis, :]

    def take_heads(free: tf.Tensor, heads: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # The first free box; 0, which is not free, where none is left.
        head = tf.argmax(tf.cast(free, tf.int8), axis=1, output_type=tf.int32)
        head = head[:, tf.newaxis]
        overlap = pairwise_iou(tf.gather(boxes, head, batch_dims=1), boxes)[:, 0]
        # A box without area does not overlap itself.
        joins = free & ((overlap >= iou_threshold) | (position == head))
        return free & ~joins, tf.where(joins, head, heads)

    _, heads = tf.while_loop(
        lambda free, heads: tf.reduce_any(free),
        take_heads,
        (valid, tf.zeros_like(valid, tf.int32)),
    )
    return heads


def _check_flat(**tensors: tf.Tensor) -> None:
    shapes = [tf.convert_to_tensor(tensor).shape for tensor in tensors.values()]
    if any(x.rank != 1 or not x.is_compatible_with(shapes[0]) for x in shapes):
        raise ValueError(
            f"{', '.join(tensors)} must have the same shape [N], got "
            f"{', '.join(map(str, shapes))}"
        )


def _check_images(scores: tf.Tensor, boxes: tf.Tensor, valid: tf.Tensor) -> None:
    fits = scores.shape.rank == 2 and valid.shape.is_compatible_with(scores.shape)
    if not fits or not boxes.shape.is_compatible_with([*scores.shape, 4]):
        raise ValueError(
            "scores, boxes and valid must have shapes [B, N], [B, N, 4] and [B, N], "
            f"got {scores.shape}, {boxes.shape} and {valid.shape}"
        )
