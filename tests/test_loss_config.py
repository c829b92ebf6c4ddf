"""Settings of losses: their defaults are those of the functions that they set."""

import inspect

import pytest

from libra_tf import losses
from libra_tf.experiments import class_loss_config, loss_config
from libra_tf.losses.residual_objectness import CLASS_DIVISOR, OBJECTNESS_DIVISOR


@pytest.mark.parametrize(
    ("function", "settings"),
    [
        (losses.average_precision, class_loss_config.AveragePrecision()),
        (losses.balanced_l1, loss_config.BoxLoss()),
        (losses.carl, loss_config.ClassAwareRegression()),
        (losses.distributional_ranking, class_loss_config.DistributionalRanking()),
        (losses.ghm_c, class_loss_config.GradientHarmonizing()),
        (losses.ghm_r, loss_config.BoxLoss().ghm),
        (losses.isr_positive_weights, loss_config.PositiveImportance()),
        (losses.smooth_l1, loss_config.BoxLoss()),
        (losses.guided, loss_config.GuidedLoss()),
    ],
)
def test_defaults(function, settings):
    parameters = inspect.signature(function).parameters.values()
    known = {p.name: p.default for p in parameters if p.default is not p.empty}
    shared = known.keys() & settings.as_dict().keys()
    assert shared, "nothing was compared"
    for name in shared:
        assert getattr(settings, name) == pytest.approx(known[name]), name


def test_divisors_of_residual_objectness():
    settings = class_loss_config.ObjectnessNormalizer()
    assert settings.objectness == OBJECTNESS_DIVISOR
    assert settings.classification == CLASS_DIVISOR
