"""Batches of rows of any shape, which losses and criteria are called with.

Shape shorthand in this module: B images, A rows (anchors or RoIs), C classes.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from property_checks import SHAPES

NUM_CLASSES = 3
POSITIVE, NEGATIVE, PADDING = 1, 0, -1
# A sigmoid rounds to 1 above 17, an exponential leaves float32 above 88.
EXTREMES = (0.0, 20.0, 88.0, -89.0, 1e4, -1e4, 1e30, -1e30)
MIXES = {
    "all kinds": (0.2, 0.5, 0.3),
    "no positive": (0.0, 0.6, 0.4),
    "no negative": (0.6, 0.0, 0.4),
    "padding": (0.0, 0.0, 1.0),
    "no padding": (0.3, 0.7, 0.0),
}

# Arrays, and in a graph tensors.
Numbers = np.ndarray | tf.Tensor


class Rows(NamedTuple):
    """A batch as losses see it; in a padded row everything but the first three is junk.

    Attributes:
        kinds: `int32` [B, A], `POSITIVE`, `NEGATIVE` or `PADDING`.
        classes: `int32` [B, A], -1 where not positive.
        instances: `int32` [B, A], unique over the batch; -1 where not positive.
        targets: [B, A, C], one-hot class of a positive.
        logits: [B, A, C].
        objectness: [B, A, 1], logits.
        probability: [B, A], of the class of a positive.
        box_targets: [B, A, 4].
        boxes: [B, A, 4].
        iou: [B, A], in [0, 1].
        errors: [B, A], >= 0, the loss of each row.
    """

    kinds: Numbers
    classes: Numbers
    instances: Numbers
    targets: Numbers
    logits: Numbers
    objectness: Numbers
    probability: Numbers
    box_targets: Numbers
    boxes: Numbers
    iou: Numbers
    errors: Numbers

    @property
    def positive(self) -> tf.Tensor:
        """`bool` [B, A]."""
        return tf.equal(self.kinds, POSITIVE)

    @property
    def valid(self) -> tf.Tensor:
        """`bool` [B, A], what is no padding."""
        return tf.not_equal(self.kinds, PADDING)

    @property
    def labels(self) -> tf.Tensor:
        """[B, A, C], 1 and 0, -1 in padding."""
        return tf.where(self.valid[..., tf.newaxis], self.targets, -1.0)


MARKS = ("kinds", "classes", "instances")
VALUES = tuple(name for name in Rows._fields if name not in MARKS)
PREDICTIONS = ("logits", "objectness", "probability", "boxes", "errors")


def rows(shape: tuple[int, int], mix: str, seed: int, *, extreme: bool = False) -> Rows:
    """A random batch, padding 0.

    Args:
        shape: B, A.
        mix: which kinds of rows, one of `MIXES`.
        seed: of everything.
        extreme: predictions as large as float32 allows, probabilities of 0 and 1.
    """
    rng = np.random.default_rng(seed)
    shape = tuple(shape)
    kinds = rng.choice([POSITIVE, NEGATIVE, PADDING], shape, p=MIXES[mix])
    classes = np.where(kinds == POSITIVE, rng.integers(0, NUM_CLASSES, shape), -1)
    instances = rng.integers(0, 3, shape) + 3 * np.arange(shape[0])[:, np.newaxis]

    def prediction(*size: int) -> np.ndarray:
        if extreme:
            return rng.choice(EXTREMES, shape + size)
        return rng.normal(0, 2, shape + size)

    boxes, probability = prediction(4), rng.random(shape)
    iou, errors = rng.random(shape), np.abs(prediction())
    if extreme:
        probability, iou = np.round(probability), np.round(iou)
    values = {
        "targets": np.eye(NUM_CLASSES)[classes] * (kinds == POSITIVE)[..., None],
        "logits": prediction(NUM_CLASSES),
        "objectness": prediction(1),
        "probability": probability,
        "box_targets": rng.normal(0, 2, (*shape, 4)),
        "boxes": boxes,
        "iou": iou,
        "errors": errors,
    }
    marks = {
        "kinds": kinds,
        "classes": classes,
        "instances": np.where(kinds == POSITIVE, instances, -1),
    }
    batch = Rows(
        **{name: value.astype(np.int32) for name, value in marks.items()},
        **{name: value.astype(np.float32) for name, value in values.items()},
    )
    return filled(batch, 0.0)


def filled(batch: Rows, junk: float) -> Rows:
    """The batch with `junk` for every value of a padded row."""
    changed = {}
    for name in VALUES:
        value = getattr(batch, name).copy()
        value[batch.kinds == PADDING] = junk
        changed[name] = value
    return batch._replace(**changed)


@functools.cache
def batches(count: int, *, extreme: bool = False) -> list[Rows]:
    """The first `count` of all shapes with all mixes, then of larger ones at random."""
    pairs = list(itertools.product(SHAPES, MIXES))
    # A stride that shares no factor with their number: few examples have all of both.
    order = [pairs[i * 11 % len(pairs)] for i in range(len(pairs))]
    rng = np.random.default_rng(count)
    for _ in range(count - len(order)):
        shape = int(rng.integers(0, 5)), int(rng.integers(0, 200))
        order.append((shape, str(rng.choice(list(MIXES)))))
    return [rows(*order[seed], seed, extreme=extreme) for seed in range(count)]


def row_specs():
    """Of `Rows` of any shape."""
    example = rows((1, 1), "padding", 0)
    specs = [tf.TensorSpec([None, None, *x.shape[2:]], x.dtype) for x in example]
    return Rows(*specs)
