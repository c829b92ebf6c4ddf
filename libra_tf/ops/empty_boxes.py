"""Scores of boxes that the border of the picture leaves no area.

A detector that clips boxes to the picture turns one that lies wholly outside into a
line at the border, with its full score. These functions take the score away, so that
whatever picks the best boxes afterwards does not see it.

Shape shorthand in this module: B images, N RoIs or anchors, A anchors per cell, C
classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from libra_tf.ops.boxes import decode_deltas
from libra_tf.ops.group_nms import clip_to_image, has_extent
from libra_tf.ops.logits import NEVER

Levels = Mapping[str, tf.Tensor]


def reaches_image(
    deltas: tf.Tensor,
    anchors: tf.Tensor,
    image_shape: tf.Tensor,
    weights: Sequence[float] | None = None,
) -> tf.Tensor:
    """Whether boxes have an area inside the picture.

    Args:
        deltas: [B, ..., 4], see `decode_deltas`.
        anchors: anchors or RoIs of a shape that broadcasts with `deltas`.
        image_shape: [B, 2], height and width of the picture in pixels of the input.
        weights: of the deltas.

    Returns:
        `bool` [B, ...].
    """
    boxes = decode_deltas(deltas, anchors, weights=weights)
    return has_extent(clip_to_image(boxes, image_shape))


def without_empty(
    raw_scores: Levels,
    raw_boxes: Levels,
    anchors: Levels,
    image_shape: tf.Tensor,
    weights: Sequence[float] | None = None,
) -> dict[str, tf.Tensor]:
    """Logits of anchors, of which the sigmoid is 0 where a box has no area.

    Args:
        raw_scores: {level: [B, H, W, A C]}, logits.
        raw_boxes: {level: [B, H, W, 4 A]}, deltas.
        anchors: {level: [B, H, W, 4 A]}, yxyx in pixels.
        image_shape: [B, 2], height and width of the picture.
        weights: of the deltas.

    Returns:
        As `raw_scores`; the others are the same to the last bit.
    """
    return {
        level: _of_level(
            raw_scores[level], raw_boxes[level], anchors[level], image_shape, weights
        )
        for level in raw_scores
    }


def _of_level(
    raw_scores: tf.Tensor,
    raw_boxes: tf.Tensor,
    anchors: tf.Tensor,
    image_shape: tf.Tensor,
    weights: Sequence[float] | None,
) -> tf.Tensor:
    batch, shape = tf.shape(raw_boxes)[0], tf.shape(raw_scores)
    deltas, boxes = (tf.reshape(x, [batch, -1, 4]) for x in (raw_boxes, anchors))
    kept = reaches_image(deltas, boxes, image_shape, weights)[..., tf.newaxis]
    classes = raw_scores.shape[-1] // (raw_boxes.shape[-1] // 4)
    logits = tf.reshape(raw_scores, [batch, -1, classes])
    logits = tf.where(kept, logits, tf.cast(NEVER, logits.dtype))
    return tf.ensure_shape(tf.reshape(logits, shape), raw_scores.shape)


def without_sigmoid_classes(logits: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    """Logits of which the sigmoid is 0 where not `kept`.

    Args:
        logits: [B, N, C], the background first.
        kept: `bool` [B, N, C - 1], of the foreground, or [B, N, 1].
    """
    foreground = tf.where(kept, logits[..., 1:], tf.cast(NEVER, logits.dtype))
    return tf.concat([logits[..., :1], foreground], axis=-1)


def without_softmax_classes(logits: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    """Logits of which the softmax is 0 where not `kept`, and the same elsewhere.

    The background takes what the dropped classes had:

        z'_0 = ln(exp(z_0) + sum over dropped c of exp(z_c))

    Args:
        logits: [B, N, C], the background first.
        kept: `bool` [B, N, C - 1], of the foreground, or [B, N, 1].

    Returns:
        `float32`, since the background's share would be rounded in half precision, and
        all scores of the row with it. Rows of which all is kept have their values.
    """
    single = tf.cast(logits, tf.float32)
    dropped = tf.where(kept, -float("inf"), single[..., 1:])
    taken = tf.concat([single[..., :1], dropped], axis=-1)
    background = tf.reduce_logsumexp(taken, axis=-1, keepdims=True)
    foreground = tf.where(kept, single[..., 1:], NEVER)
    return tf.concat([background, foreground], axis=-1)
