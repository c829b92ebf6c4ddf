"""Labels of a batch that know where the picture ends and the padding begins.

Model Garden's labels tell the size of the padded input only, to which it clips boxes,
and its anchors in the padding are negatives like any others.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf


def without_padding(image_info: tf.Tensor) -> tf.Tensor:
    """Gives the size of the resized picture in place of that of the padded input.

    Boxes are clipped to it, in training as in inference.

    Args:
        image_info: [..., 4, 2]: size before resizing, size of the padded input, scale,
            offset of that in the resized picture.
    """
    original, padded, scale, offset = tf.unstack(image_info, num=4, axis=-2)
    size = tf.minimum(tf.round(original * scale) - offset, padded)
    return tf.stack([original, size, scale, offset], axis=-2)


def find_pictures(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Batches of which the labels know their pictures; for `clip_to_image`.

    Args:
        dataset: batches of (images, labels), of training or evaluation.
    """

    def find(images: tf.Tensor, labels: Mapping) -> tuple[tf.Tensor, dict]:
        labels = {**labels, "image_info": without_padding(labels["image_info"])}
        # In evaluation those of RetinaNet have targets too, for the loss.
        has_targets = not labels.keys().isdisjoint(("rpn_score_targets", "cls_weights"))
        return images, without_padding_negatives(labels) if has_targets else labels

    return dataset.map(find, num_parallel_calls=tf.data.AUTOTUNE)


def without_padding_negatives(labels: Mapping) -> dict:
    """Ignores the negative anchors of cells that begin beyond the picture.

    A cell of level l begins at 2**l times its row and column. Positive anchors stay:
    an object at the border may have no better one.

    Args:
        labels: with `image_info` of `without_padding`, and targets: of the RPN, with
            `rpn_score_targets` {level: [B, H, W, A]}, or of RetinaNet, with
            `cls_targets` of the same shape, `cls_weights` and `box_weights`
            [B, all anchors].

    Reference: mmdetection's `valid_flags`, which counts its padding to multiples of 32
    pixels to the picture, and never looks at anchors beyond, positive or not.
    """
    size = labels["image_info"][:, 1]
    if "rpn_score_targets" in labels:
        targets = labels["rpn_score_targets"]
        inside = {level: _inside(x, size, int(level)) for level, x in targets.items()}
        targets = {
            level: tf.where((target == 0) & ~inside[level], -1, target)
            for level, target in targets.items()
        }
        return {**labels, "rpn_score_targets": targets}
    targets = labels["cls_targets"]
    levels = [_inside(x, size, int(level)) for level, x in targets.items()]
    # Model Garden joins the levels in the order of the mapping.
    inside = tf.concat([tf.reshape(x, [tf.shape(x)[0], -1]) for x in levels], axis=1)
    trains = inside | (labels["box_weights"] > 0)
    weights = labels["cls_weights"]
    return {**labels, "cls_weights": tf.where(trains, weights, tf.zeros_like(weights))}


def _inside(target: tf.Tensor, size: tf.Tensor, level: int) -> tf.Tensor:
    """Whether the cells of a level begin in the picture: `bool`, shape of `target`."""
    batch, height, width, anchors = tf.unstack(tf.shape(target))
    stride = 2.0**level
    rows = tf.cast(tf.range(height), tf.float32) * stride < size[:, :1]
    columns = tf.cast(tf.range(width), tf.float32) * stride < size[:, 1:]
    cells = rows[:, :, tf.newaxis] & columns[:, tf.newaxis]
    return tf.broadcast_to(cells[..., tf.newaxis], [batch, height, width, anchors])
