"""Which anchors train the RPN, as a change to a batch of its labels."""

from __future__ import annotations

import functools

import tensorflow as tf
from official.vision.configs import maskrcnn as tfm_config

from libra_tf.experiments import sampler_config
from libra_tf.inputs.labels import LabelFn
from libra_tf.samplers import draw_anchors, limit_negatives, sample_anchors


def anchor_chooser(
    sampler: sampler_config.RPNSampler,
    parser: tfm_config.Parser,
    redraws: bool = False,
) -> LabelFn | None:
    """Returns a change of labels for `map_labels`, or None for Model Garden's choice.

    Args:
        sampler: settings.
        parser: Model Garden's settings of the input pipeline.
        redraws: "random" is drawn from labels of every anchor, not by Model Garden,
            which knows no padding.
    """
    ratio = sampler.neg_pos_ub
    if sampler.negatives == "random" and redraws:
        return functools.partial(_random, ratio=ratio, parser=parser)
    if sampler.negatives == "iou_balanced":
        return functools.partial(_iou_balanced, sampler=sampler, parser=parser)
    if sampler.negatives == "random" and ratio:
        most = parser.rpn_batch_size_per_im
        return functools.partial(_bound_negatives, ratio=ratio, most=most)
    return None


def _bound_negatives(labels: dict, *, seed: tf.Tensor, ratio: float, most: int) -> dict:
    targets = limit_negatives(labels["rpn_score_targets"], ratio, most=most, seed=seed)
    return {**labels, "rpn_score_targets": targets}


def _random(
    labels: dict, *, seed: tf.Tensor, ratio: float, parser: tfm_config.Parser
) -> dict:
    targets = draw_anchors(
        labels["rpn_score_targets"],
        num_samples=parser.rpn_batch_size_per_im,
        foreground_fraction=parser.rpn_fg_fraction,
        ratio=ratio,
        seed=seed,
    )
    return {**labels, "rpn_score_targets": targets}


def _iou_balanced(
    labels: dict,
    *,
    seed: tf.Tensor,
    sampler: sampler_config.RPNSampler,
    parser: tfm_config.Parser,
) -> dict:
    targets = sample_anchors(
        labels["rpn_score_targets"],
        labels["anchor_boxes"],
        labels["gt_boxes"],
        num_samples=parser.rpn_batch_size_per_im,
        foreground_fraction=parser.rpn_fg_fraction,
        upper=parser.rpn_unmatched_threshold,
        num_bins=sampler.num_bins,
        ratio=sampler.neg_pos_ub,
        seed=seed,
    )
    return {**labels, "rpn_score_targets": targets}
