"""Sample level: how many examples each level, class and object gives.

Numbers of a batch that add up over batches and replicas.

Shape shorthand in this module:
    B: images in the batch.
    N: examples per image (RoIs or anchors).
    M: ground-truth boxes per image, padded with -1.
    L: levels of the pyramid.
    C: classes, 0 the background.
    P: positives of all images.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from libra_tf.samplers.matching import pad_rows

# Two targets are of one object where no side differs by more pixels: half of what two
# boxes of whole pixels differ by.
_SAME_BOX = 0.5


def count_by(index: tf.Tensor, chosen: tf.Tensor, size: int) -> tf.Tensor:
    """Counts the chosen examples of each level or class.

    Args:
        index: integer [B, N]; what is below 0 or not chosen counts nowhere.
        chosen: `bool` [B, N].
        size: number of levels or classes.

    Returns:
        `float32` [size].
    """
    index = tf.where(chosen, tf.cast(index, tf.int32), -1)
    ones = tf.ones_like(index, tf.float32)
    return tf.math.unsorted_segment_sum(ones, index, size)


def level_of_anchors(sizes: Sequence[int], batch: tf.Tensor) -> tf.Tensor:
    """Position of each anchor's level, `int32` [B, N], of the anchors of each level."""
    row = tf.repeat(tf.range(len(sizes)), tf.constant(list(sizes)))
    return tf.repeat(row[tf.newaxis], batch, axis=0)


def object_sums(
    image: tf.Tensor, instance: tf.Tensor, gt_boxes: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Numbers of objects, of those without a positive, and of positives.

    Args:
        image: `int32` [P], the image of each positive.
        instance: `int32` [P], its ground-truth box.
        gt_boxes: [B, M, 4].

    Returns:
        `float32` scalars `objects`, `without` and `positives`.
    """
    is_object = tf.reduce_max(pad_rows(gt_boxes, 1), axis=-1) >= 0
    batch, most = tf.unstack(tf.shape(is_object))
    number = tf.math.unsorted_segment_sum(
        tf.ones_like(instance, tf.float32), image * most + instance, batch * most
    )
    number = tf.reshape(number, [batch, most])
    return {
        "objects": _count(is_object),
        "without": _count(is_object & (number < 1)),
        "positives": tf.reduce_sum(tf.where(is_object, number, 0.0)),
    }


def nearest_object(
    boxes: tf.Tensor, image: tf.Tensor, gt_boxes: tf.Tensor
) -> tf.Tensor:
    """The ground-truth box that each target box is: `int32` [P].

    Args:
        boxes: [P, 4], decoded targets.
        image: `int32` [P].
        gt_boxes: [B, M, 4].
    """
    others = tf.gather(tf.cast(pad_rows(gt_boxes, 1), tf.float32), image)
    distance = tf.reduce_max(tf.abs(others - boxes[:, tf.newaxis]), axis=-1)
    return tf.argmin(distance, axis=1, output_type=tf.int32)


def distinct_object_sums(
    boxes: tf.Tensor, image: tf.Tensor, batch: tf.Tensor
) -> dict[str, tf.Tensor]:
    """As `object_sums`, where no ground truth is known but by the positives' targets.

    An object without a positive is not seen: there is no `without`.

    Args:
        boxes: [P, 4], decoded targets.
        image: `int32` [P].
        batch: B.
    """

    def distinct(number: tf.Tensor) -> tf.Tensor:
        own = tf.boolean_mask(boxes, image == number)
        apart = tf.reduce_max(tf.abs(own[:, tf.newaxis] - own[tf.newaxis]), axis=-1)
        rows = tf.range(tf.shape(own)[0])
        earlier = rows[tf.newaxis] < rows[:, tf.newaxis]
        is_known = tf.reduce_any((apart < _SAME_BOX) & earlier, axis=1)
        return _count(~is_known)

    numbers = tf.map_fn(distinct, tf.range(batch), fn_output_signature=tf.float32)
    return {
        "objects": tf.reduce_sum(numbers),
        "positives": tf.cast(tf.shape(boxes)[0], tf.float32),
    }


def _count(mask: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(mask, tf.float32))
