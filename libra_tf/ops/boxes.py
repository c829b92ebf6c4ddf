"""Geometry of boxes: `[ymin, xmin, ymax, xmax]` in absolute pixels, padding -1.

Shape shorthand in this module:
    B: images in the batch.
    N, M: boxes per image.
"""

import math
from collections.abc import Sequence

import tensorflow as tf

# Model Garden's RoI head divides its deltas by these (Detectron's BBOX_REG_WEIGHTS).
ROI_DELTA_WEIGHTS = (10.0, 10.0, 5.0, 5.0)

# Model Garden and Detectron: a side grows by at most this factor.
_MAX_LOG_SCALE = math.log(1000.0 / 16.0)


def pairwise_iou(boxes1: tf.Tensor, boxes2: tf.Tensor) -> tf.Tensor:
    """Intersection over union of every box of one set with every box of another.

        IoU(a, b) = |a ∩ b| / (|a| + |b| - |a ∩ b|),  0 where the boxes do not meet

    Args:
        boxes1: [B, N, 4], yxyx in pixels. A box whose largest coordinate is negative
            is padding.
        boxes2: [B, M, 4], the same.

    Returns:
        `float32` [B, N, M] in [0, 1]; -1 where either box is padding.

    Raises:
        ValueError: if the shapes are not [B, N, 4] and [B, M, 4].
    """
    boxes1 = tf.cast(boxes1, tf.float32)
    boxes2 = tf.cast(boxes2, tf.float32)
    _check_shapes(boxes1.shape, boxes2.shape)
    first, second = boxes1[:, :, tf.newaxis, :], boxes2[:, tf.newaxis, :, :]
    top_left = tf.maximum(first[..., :2], second[..., :2])
    bottom_right = tf.minimum(first[..., 2:], second[..., 2:])
    sides = tf.maximum(bottom_right - top_left, 0.0)
    intersection = sides[..., 0] * sides[..., 1]
    union = _area(first) + _area(second) - intersection
    iou = tf.math.divide_no_nan(intersection, union)
    padding = tf.logical_or(_is_padding(first), _is_padding(second))
    return tf.where(padding, -1.0, iou)


def paired_iou(boxes1: tf.Tensor, boxes2: tf.Tensor) -> tf.Tensor:
    """Intersection over union of each box with the box at its own place.

    Args:
        boxes1: [..., 4], yxyx in pixels. A box whose largest coordinate is negative is
            padding.
        boxes2: [..., 4], the same shape.

    Returns:
        `float32` [...] in [0, 1]; -1 where either box is padding. The values of
        `pairwise_iou`.

    Raises:
        ValueError: if the shapes differ or the last axis is not 4.
    """
    boxes1, boxes2 = tf.convert_to_tensor(boxes1), tf.convert_to_tensor(boxes2)
    if not boxes1.shape.is_compatible_with(boxes2.shape) or boxes1.shape[-1] != 4:
        raise ValueError(
            f"boxes1 and boxes2 must have the same shape [..., 4], got {boxes1.shape} "
            f"and {boxes2.shape}"
        )
    # Each pair is an image with one box on either side.
    pairs = [tf.reshape(boxes, [-1, 1, 4]) for boxes in (boxes1, boxes2)]
    iou = tf.reshape(pairwise_iou(*pairs), tf.shape(boxes1)[:-1])
    return tf.ensure_shape(iou, boxes1.shape[:-1])


def decode_deltas(
    deltas: tf.Tensor,
    anchors: tf.Tensor,
    *,
    weights: Sequence[float] | None = None,
    clamp_below: bool = False,
) -> tf.Tensor:
    """Boxes that deltas make of anchors, the inverse of the box encoding.

        center = anchor center + (ty, tx) / (wy, wx) * anchor sides
        sides = exp(min((th, tw) / (wh, ww), ln(1000 / 16))) * anchor sides

    Args:
        deltas: [..., 4], (ty, tx, th, tw).
        anchors: anchors or RoIs of a shape that broadcasts with `deltas`, yxyx.
        weights: (wy, wx, wh, ww), all > 0; `ROI_DELTA_WEIGHTS` for the RoI head of
            Model Garden, None (all 1) for its RPN and RetinaNet.
        clamp_below: a side shrinks by at most 1000 / 16 too, as mmdetection has it.

    Returns:
        `float32` [..., 4], yxyx, not clipped to the image.

    Raises:
        ValueError: if a last axis is not 4, or `weights` are not four numbers > 0.

    Reference: Girshick et al., "Rich feature hierarchies for accurate object detection
    and semantic segmentation", CVPR 2014, appendix C; as `decode_boxes` of Model
    Garden.
    """
    deltas, anchors = tf.cast(deltas, tf.float32), tf.cast(anchors, tf.float32)
    if deltas.shape[-1] != 4 or anchors.shape[-1] != 4:
        raise ValueError(
            f"deltas and anchors must have shape [..., 4], got {deltas.shape} and "
            f"{anchors.shape}"
        )
    if weights is not None:
        if len(weights) != 4 or not all(weight > 0 for weight in weights):
            raise ValueError(f"weights must be four numbers > 0, got {weights}")
        deltas /= tf.constant(weights, tf.float32)
    sides = anchors[..., 2:] - anchors[..., :2]
    centers = anchors[..., :2] + 0.5 * sides
    # Only from above: a side may shrink to nothing, but not grow to infinity.
    logs = tf.minimum(deltas[..., 2:], _MAX_LOG_SCALE)
    if clamp_below:
        logs = tf.maximum(logs, -_MAX_LOG_SCALE)
    scales = tf.exp(logs)
    new_sides = scales * sides
    top_left = deltas[..., :2] * sides + centers - 0.5 * new_sides
    return tf.concat([top_left, top_left + new_sides], axis=-1)


def _area(boxes: tf.Tensor) -> tf.Tensor:
    sides = boxes[..., 2:] - boxes[..., :2]
    return sides[..., 0] * sides[..., 1]


def _is_padding(boxes: tf.Tensor) -> tf.Tensor:
    return tf.reduce_max(boxes, axis=-1) < 0.0


def _check_shapes(shape1: tf.TensorShape, shape2: tf.TensorShape) -> None:
    fits = all(shape.is_compatible_with([None, None, 4]) for shape in (shape1, shape2))
    if not fits or not shape1[:1].is_compatible_with(shape2[:1]):
        raise ValueError(
            f"boxes must have shapes [B, N, 4] and [B, M, 4], got {shape1} and {shape2}"
        )
