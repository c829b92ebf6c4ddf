"""How each sampler is called, and pools of candidates of any shape to call it with.

Shape shorthand in this module: B images, A rows (anchors or RoIs).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from libra_tf.ops import sampling
from libra_tf.samplers import anchor_sampler, score_ranked


class Pool(NamedTuple):
    """Candidates of which a sampler draws; what is no candidate is junk.

    Attributes:
        candidates: `bool` [B, A].
        iou: [B, A], in [0, `UPPER`) for candidates.
        instances: `int32` [B, A].
        values: [B, A], >= 0.
        scores: [B, A], in [0, 1].
        boxes: [B, A, 4].
    """

    candidates: tf.Tensor
    iou: tf.Tensor
    instances: tf.Tensor
    values: tf.Tensor
    scores: tf.Tensor
    boxes: tf.Tensor


UPPER, NUM_BINS = 0.5, 3


def random_pool(shape: tuple[int, int], share: float, seed: int) -> Pool:
    """Random candidates, `share` of all; some values, scores and boxes are extreme."""
    rng = np.random.default_rng(seed)
    candidates = rng.random(shape) < share
    corners = rng.uniform(-20, 60, (*shape, 2))
    sides = rng.choice([0.0, 1.0, 30.0, 1e30, -5.0], (*shape, 2))
    floats = {
        "iou": UPPER * rng.random(shape) ** 2,
        "values": rng.choice([0.0, 0.1, 1.0, 1e30], shape) * rng.random(shape),
        "scores": rng.choice([0.0, 1e-30, 0.3, 1.0], shape) * rng.random(shape),
        "boxes": np.concatenate([corners, corners + sides], axis=-1),
    }
    return Pool(
        candidates=tf.constant(candidates),
        instances=tf.constant(rng.choice(4, shape, p=(0.6, 0.2, 0.1, 0.1)), tf.int32),
        **{name: tf.constant(x, tf.float32) for name, x in floats.items()},
    )


def spoiled(drawn_from: Pool, junk: float) -> Pool:
    """The pool with `junk` for every number of what is no candidate."""
    kept = drawn_from.candidates
    return drawn_from._replace(
        instances=tf.where(kept, drawn_from.instances, -1),
        boxes=tf.where(kept[..., tf.newaxis], drawn_from.boxes, junk),
        **{
            name: tf.where(kept, getattr(drawn_from, name), junk)
            for name in ("iou", "values", "scores")
        },
    )


# Each gives the mask [B, A] of what is drawn of a pool, `n` for each image.
DRAWS: dict[str, Callable[[Pool, int, tf.Tensor], tf.Tensor]] = {
    "hardest": lambda p, n, seed: sampling.hardest(p.values, p.candidates, n),
    "instance_balanced": lambda p, n, seed: sampling.instance_balanced(
        p.instances, p.candidates, n, seed=seed
    ),
    "iou_balanced": lambda p, n, seed: sampling.iou_balanced(
        p.iou, p.candidates, n, upper=UPPER, num_bins=NUM_BINS, seed=seed
    ),
    "iou_balanced_published": lambda p, n, seed: sampling.iou_balanced_published(
        p.iou,
        p.candidates,
        n,
        max_iou=tf.fill(tf.shape(p.iou)[:1], UPPER),
        num_bins=NUM_BINS,
        seed=seed,
    ),
    "isr_negative_sample": lambda p, n, seed: score_ranked.isr_negative_sample(
        p.scores, p.boxes, p.candidates, n, p.values, seed=seed
    )[0],
    "uniform": lambda p, n, seed: sampling.uniform(p.candidates, n, seed=seed),
}

ANCHOR_QUOTA = {"num_samples": 6, "foreground_fraction": 0.5}
Levels = dict[str, tf.Tensor]
# Each gives the labels of anchors after the draw.
ANCHOR_DRAWS: dict[str, Callable[[Levels, Levels, tf.Tensor, tf.Tensor], Levels]] = {
    "draw_anchors": lambda labels, anchors, gt, seed: anchor_sampler.draw_anchors(
        labels, **ANCHOR_QUOTA, seed=seed
    ),
    "limit_negatives": lambda labels, anchors, gt, seed: anchor_sampler.limit_negatives(
        labels, 2.0, seed=seed
    ),
    "sample_anchors": lambda labels, anchors, gt, seed: anchor_sampler.sample_anchors(
        labels, anchors, gt, **ANCHOR_QUOTA, seed=seed
    ),
}


def kept_anchors(
    name: str, positives: np.ndarray, negatives: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How many positives and negatives [B] a draw of anchors leaves of so many."""
    if name == "limit_negatives":
        return positives, np.minimum(negatives, 2 * np.maximum(positives, 1))
    samples, share = ANCHOR_QUOTA.values()
    positives = np.minimum(positives, int(samples * share))
    return positives, np.minimum(negatives, samples - positives)


# Tested with every `SamplingRule` that can be made.
ROI_SAMPLERS = ("RoISampler", "select_rois")
SAMPLERS = {*DRAWS, *ANCHOR_DRAWS, *ROI_SAMPLERS}
