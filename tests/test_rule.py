"""samplers.rule: which settings of a draw make sense."""

import dataclasses
import math

import pytest

from libra_tf.samplers import SamplingRule
from libra_tf.samplers.rule import MINED, NEGATIVES, POSITIVES


def test_defaults_are_the_published_ones():
    rule = SamplingRule()
    assert (rule.num_sampled_rois, rule.foreground_fraction) == (512, 0.25)
    thresholds = rule.background_iou_low_threshold, rule.background_iou_high_threshold
    assert (*thresholds, rule.foreground_iou_threshold) == (0, 0.5, 0.5)
    assert (rule.positives, rule.negatives, rule.num_bins) == ("random", "random", 3)
    # mmdetection's ScoreHLRSampler.
    ranking = rule.k, rule.bias, rule.score_threshold, rule.group_iou_threshold
    assert ranking == (0.5, 0, 0.05, 0.5)


@pytest.mark.parametrize("positives", POSITIVES)
@pytest.mark.parametrize("negatives", NEGATIVES)
def test_all_goes_with_all_and_the_rest_with_each_other(positives, negatives):
    both = positives, negatives
    if both.count("all") == 1:
        with pytest.raises(ValueError, match="'all' together or not at all, got"):
            SamplingRule(positives=positives, negatives=negatives)
        return
    rule = SamplingRule(positives=positives, negatives=negatives)
    assert rule.draws_nothing == (both == ("all", "all"))
    assert rule.is_mined == any(name in MINED for name in both)
    if both == ("hardest", "hardest"):
        assert dataclasses.replace(rule, without_quota=True).is_mined
    else:
        with pytest.raises(ValueError, match=r"without_quota goes with .* got"):
            dataclasses.replace(rule, without_quota=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"positives": "ohem"}, "positives .* random, .* hardest, all, got 'ohem'"),
        ({"negatives": "ohem"}, "negatives .* score_ranked, all, got 'ohem'"),
        ({"num_sampled_rois": 0}, r"num_sampled_rois must be in \[1, 1000000\], got 0"),
        ({"num_bins": 0}, r"num_bins must be in \[1, 10000\], got 0"),
        ({"foreground_fraction": 1.5}, r"foreground_fraction .* \[0, 1\], got 1.5"),
        ({"foreground_fraction": math.nan}, r"foreground_fraction .* got nan"),
        ({"background_iou_low_threshold": 0.5}, "thresholds .* got 0.5, 0.5 and 0.5"),
        (
            {"background_iou_low_threshold": -0.1},
            r"low_threshold .* \[0, 1\), got -0.1",
        ),
        ({"background_iou_high_threshold": 0.6}, "thresholds .* got 0.0, 0.6 and 0.5"),
        ({"foreground_iou_threshold": 1.1}, r"iou_threshold .* \[0, 1\], got 1.1"),
        ({"k": -1}, "k must be >= 0, got -1"),
        ({"k": math.inf}, "k must be >= 0, got inf"),
        ({"bias": -0.1}, r"bias must be in \[0, 1\], got -0.1"),
        ({"score_threshold": 2}, r"score_threshold must be in \[0, 1\], got 2"),
        ({"group_iou_threshold": 0}, r"group_iou_threshold .* \(0, 1\], got 0"),
        ({"group_iou_threshold": 1.5}, r"group_iou_threshold .* \(0, 1\], got 1.5"),
    ],
)
def test_messages(settings, message):
    with pytest.raises(ValueError, match=message):
        SamplingRule(**settings)


def test_a_rule_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SamplingRule().k = 2.0
