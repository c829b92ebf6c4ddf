"""Batches of a one-stage detector with hand-set classes, to test its losses with."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from libra_tf.criteria.dense_batch import dense_batch
from libra_tf.experiments.saved import get_experiment, override
from libra_tf.inputs.parsers import INSTANCE

NUM_CLASSES = 4  # with the one that is never used
IGNORED = -2


def settings(**losses):
    """The losses of a config; plain cross entropy and smooth L1 unless said."""
    params = get_experiment("libra_retinanet_resnetfpn_coco")
    plain = {
        "classification": {"type": "cross_entropy"},
        "box": {"type": "smooth_l1", "beta": 1.0},
    }
    for changes in (plain, losses):
        override(params, {"task": {"losses": changes}}, "test")
    return params.task.losses


def batch(classes, *, seed=0, instances=None, split=None, scale=1.0):
    """Random outputs, and labels of two levels.

    Args:
        classes: [B, A]; `IGNORED`, -1 for background, else a class.
        seed: of the outputs and box targets.
        instances: [B, A], the object of each anchor.
        split: how many anchors the first level has; default half.
        scale: of the logits.
    """
    classes = np.asarray(classes, np.int32)
    images, anchors = classes.shape
    split = anchors // 2 if split is None else split
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (images, anchors, NUM_CLASSES))
    boxes, targets = rng.normal(0, 0.5, (2, images, anchors, 4))
    outputs = {
        "cls_outputs": levels(logits, split),
        "box_outputs": levels(boxes, split),
    }
    labels = {
        "cls_targets": levels(np.maximum(classes, -1)[..., None], split, tf.int32),
        "box_targets": levels(targets, split),
        "cls_weights": tf.constant(classes != IGNORED, tf.float32),
        "box_weights": tf.constant(classes > 0, tf.float32),
    }
    if instances is not None:
        numbers = np.asarray(instances)[..., None]
        labels["attribute_targets"] = {INSTANCE: levels(numbers, split)}
    return outputs, labels


def levels(values, split, dtype=tf.float32):
    """[B, A, size] to {level: [B, 1, width, size]}."""
    parts = np.split(values, [split], axis=1)
    return {
        level: tf.constant(part[:, np.newaxis], dtype)
        for level, part in zip(("3", "4"), parts, strict=True)
    }


def dense(classes, **kwargs):
    """The batch as the losses get it."""
    return dense_batch(*batch(classes, **kwargs), NUM_CLASSES)


def random_classes(images=3, anchors=40, seed=0):
    """Every kind of anchor; the last image has no positive."""
    rng = np.random.default_rng(seed)
    classes = rng.choice(
        [IGNORED, -1, 1, 2, 3], (images, anchors), p=[0.1, 0.6, 0.1, 0.1, 0.1]
    )
    classes[-1] = np.minimum(classes[-1], -1)
    return classes
