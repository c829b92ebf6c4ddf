"""Greedy suppression within groups, as mmcv's `batched_nms`.

Shape shorthand in this module: B images, N boxes per image, K kept.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

# Below every score, but not the lowest float: there, the GPU's kernel does not compare.
_LOWEST_SCORE = -1e30


class Kept(NamedTuple):
    """What is left, best first; rows without a box hold zeros.

    Attributes:
        boxes: `float32` [B, K, 4].
        scores: `float32` [B, K].
        groups: `int32` [B, K].
        count: `int32` [B].
    """

    boxes: tf.Tensor
    scores: tf.Tensor
    groups: tf.Tensor
    count: tf.Tensor


def group_nms(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    groups: tf.Tensor,
    valid: tf.Tensor,
    *,
    iou_threshold: float,
    max_kept: int,
) -> Kept:
    """Keeps the best boxes that meet no better box of their group too much.

    Args:
        boxes: `float32` [B, N, 4], yxyx in pixels, coordinates >= 0.
        scores: `float32` [B, N], above -1e30.
        groups: `int32` [B, N], >= 0; a box is suppressed by one of its own group only.
        valid: `bool` [B, N]; what is not valid is never kept.
        iou_threshold: a box is suppressed if its IoU is larger.
        max_kept: K.

    Returns:
        `Kept`.

    The groups are moved apart by more than the largest coordinate, in float32, and
    suppressed at once. So does the reference, whose IoUs this rounds alike.
    """
    boxes, scores = tf.cast(boxes, tf.float32), tf.cast(scores, tf.float32)
    boxes = tf.where(valid[..., tf.newaxis], boxes, 0.0)
    highest = tf.reduce_max(boxes, axis=[1, 2], keepdims=True)
    offsets = tf.cast(groups, tf.float32)[..., tf.newaxis] * (highest + 1.0)
    candidates = tf.where(valid, scores, -float("inf"))

    def suppress(image: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        rows, count = tf.raw_ops.NonMaxSuppressionV4(
            boxes=image[0],
            scores=image[1],
            max_output_size=max_kept,
            iou_threshold=float(iou_threshold),
            score_threshold=_LOWEST_SCORE,
            pad_to_max_output_size=True,
        )
        return rows, count

    rows, count = tf.map_fn(
        suppress,
        (boxes + offsets, candidates),
        fn_output_signature=(
            tf.TensorSpec([max_kept], tf.int32),
            tf.TensorSpec([], tf.int32),
        ),
    )
    is_kept = tf.range(max_kept) < count[:, tf.newaxis]
    rows = tf.where(is_kept, rows, 0)

    def take(values: tf.Tensor) -> tf.Tensor:
        # Pad one row so that the gather is valid for N = 0.
        padded = tf.pad(values, [[0, 0], [0, 1], *[[0, 0]] * (len(values.shape) - 2)])
        taken = tf.gather(padded, rows, batch_dims=1)
        mask = is_kept if taken.shape.rank == 2 else is_kept[..., tf.newaxis]
        return tf.where(mask, taken, tf.zeros_like(taken))

    return Kept(take(boxes), take(scores), take(tf.cast(groups, tf.int32)), count)


def best_rows(scores: tf.Tensor, most: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Scores and rows of the best `most` of [B, N], or of all N, best first."""
    size = scores.shape[1] if scores.shape[1] is not None else tf.shape(scores)[1]
    known = not tf.is_tensor(size)
    return tf.math.top_k(scores, k=min(size, most) if known else tf.minimum(size, most))


def clip_to_image(boxes: tf.Tensor, image_shape: tf.Tensor) -> tf.Tensor:
    """Moves coordinates [B, ..., 4] into the image [B, 2] (height, width)."""
    limit = tf.tile(tf.cast(image_shape, boxes.dtype), [1, 2])
    extra = boxes.shape.rank - 2
    limit = tf.reshape(limit, [-1, *[1] * extra, 4])
    return tf.clip_by_value(boxes, 0.0, limit)


def has_extent(boxes: tf.Tensor) -> tf.Tensor:
    """Whether both sides of boxes [..., 4] are longer than 0."""
    return tf.reduce_all(boxes[..., 2:] > boxes[..., :2], axis=-1)
