"""training.compare_settings: one rule for settings that only one version knows."""

import pytest

from libra_tf.experiments.saved import get_experiment, override
from libra_tf.training.compare_settings import (
    default_settings,
    find_difference,
    find_difference_at,
    setting_at,
)

DEFAULTS = {"a": {"b": 0, "c": 3, "d": {"e": [1, 2]}}}


@pytest.mark.parametrize(
    ("before", "now", "difference"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 1}}, None),
        ({"a": {"b": [1]}}, {"a": {"b": [2]}}, "a.b = [1], not [2]"),
        ({"a": {"b": [1, [2]]}}, {"a": {"b": (1, (2,))}}, None),
        ({"a": None}, {"a": {"b": 1}}, "a = None, not {'b': 1}"),
        ({"a": {"b": 1}}, {"a": None}, "a = {'b': 1}, not None"),
        ({"a": {"x": 1, "b": 2}}, {"a": {"y": 3, "b": 4}}, "a.b = 2, not 4"),
    ],
)
def test_settings_that_both_have(before, now, difference):
    assert find_difference(before, now, DEFAULTS) == difference


@pytest.mark.parametrize(
    ("new", "difference"),
    [
        ({"c": 3}, None),
        ({"d": {"e": [1, 2]}}, None),
        ({"c": 4}, "no a.c (here it is 4, not its default)"),
        ({"d": {"e": [1, 3]}}, "no a.d.e (here it is [1, 3], not its default)"),
        ({"x": None}, "no a.x (here it is None, not its default)"),
    ],
)
def test_a_setting_newer_than_a_run_is_equal_at_its_default(new, difference):
    now = {"a": {"b": 1, **new}}
    assert find_difference({"a": {"b": 1}}, now, DEFAULTS) == difference


def test_a_setting_that_is_gone_is_a_difference():
    before, now = {"a": {"b": 1}, "old": 2}, {"a": {"b": 1}}
    text = "old = 2, which this version does not know"
    assert find_difference(before, now, DEFAULTS) == text
    before["old"] = {"deep": 2}
    assert find_difference(before, now, DEFAULTS) == text.replace("old", "old.deep")
    before["old"] = {}  # no setting
    assert find_difference(before, now, DEFAULTS) is None


def test_one_setting_and_all_below_it():
    before, now = {"a": {"b": 1}, "other": 1}, {"a": {"b": 1, "c": 3}, "other": 2}
    assert find_difference_at(before, now, DEFAULTS, "a") is None
    assert find_difference_at(before, now, DEFAULTS, "a.c") is None
    assert find_difference_at(before, now, DEFAULTS, "other") == "other = 1, not 2"
    assert setting_at(now, "a.c") == 3
    assert setting_at(now, "a.c.d") is None


def test_defaults_are_those_of_nothing_set():
    params = get_experiment("libra_fasterrcnn_resnetfpn_coco")
    model = {"backbone": {"type": "torch_resnet", "torch_resnet": {"model_id": 101}}}
    override(params, {"task": {"model": model}}, "test")
    found, own = default_settings(params), params.as_dict()
    for name in ("task", "trainer", "runtime"):
        section = type(getattr(params, name))().as_dict()
        scalars = {k: v for k, v in section.items() if not isinstance(v, dict)}
        assert {k: found[name][k] for k in scalars} == scalars
    # The choice made has defaults too, though it is not the default choice.
    backbone = found["task"]["model"]["backbone"]
    assert backbone.keys() == own["task"]["model"]["backbone"].keys()
    assert backbone["type"] == "resnet"
    assert backbone["torch_resnet"]["model_id"] == 50
    # A part that is off by default, and on here, has the defaults of its class.
    anchor = found["task"]["model"]["anchor"]
    assert anchor.keys() == own["task"]["model"]["anchor"].keys()


def test_a_run_of_an_older_version_is_the_same_run():
    """Each setting in turn was not there yet when the run was made."""
    now = get_experiment("libra_retinanet_resnetfpn_coco").task.losses
    values, defaults = now.as_dict(), default_settings(now)
    for name in values:
        before = {k: v for k, v in values.items() if k != name}
        found = find_difference(before, values, defaults)
        assert (found is None) == (values[name] == defaults[name])
