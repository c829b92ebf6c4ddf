"""Geometry of boxes: `[ymin, xmin, ymax, xmax]` in absolute pixels, padding -1.

Shape shorthand in this module:
    B: images in the batch.
    N, M: boxes per image.
"""

import tensorflow as tf


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
