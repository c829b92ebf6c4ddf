"""The sampling rule that the settings of a RoI sampler mean."""

from __future__ import annotations

from libra_tf.errors import UserError
from libra_tf.experiments import model_config
from libra_tf.samplers.rule import SamplingRule


def sampling_rule(sampler: model_config.ROISampler) -> SamplingRule:
    """Returns the rule that the settings mean.

    Raises:
        UserError: a setting is out of its range.
    """
    ranked = sampler.score_ranked
    try:
        return SamplingRule(
            num_sampled_rois=sampler.num_sampled_rois,
            foreground_fraction=sampler.foreground_fraction,
            foreground_iou_threshold=sampler.foreground_iou_threshold,
            background_iou_high_threshold=sampler.background_iou_high_threshold,
            background_iou_low_threshold=sampler.background_iou_low_threshold,
            positives=sampler.positives,
            negatives=sampler.negatives,
            num_bins=sampler.num_bins,
            without_quota=sampler.without_quota,
            k=ranked.k,
            bias=ranked.bias,
            score_threshold=ranked.score_threshold,
            group_iou_threshold=ranked.iou_threshold,
        )
    except ValueError as error:
        raise UserError(f"task.model.roi_sampler: {error}") from error
