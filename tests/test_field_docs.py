"""experiments.field_docs: every setting is explained, and the page is the code's."""

from pathlib import Path

import pytest

from libra_tf.experiments import NAMES
from libra_tf.experiments.field_docs import (
    COMMAND,
    explain,
    find,
    is_declared_here,
    meaning,
    page,
)
from libra_tf.experiments.fields import walk
from libra_tf.experiments.saved import get_experiment

FASTER, _, RETINA = NAMES
PAGE = Path(__file__).parents[1] / "docs" / "settings.md"


def test_the_page_is_in_step_with_the_code():
    assert PAGE.read_text(encoding="utf-8") == page(), f"write it again: {COMMAND}"


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_of_ours_has_a_meaning(name):
    fields = [f for f in walk(get_experiment(name)) if not f.is_section]
    assert sum(map(is_declared_here, fields)) > 50
    assert [f.path for f in fields if is_declared_here(f) and not meaning(f)] == []


def test_a_setting_is_described():
    (text,) = explain(get_experiment(RETINA), "task.losses.box.beta")
    assert text.split("\n") == [
        "task.losses.box.beta: 0.11",
        "  threshold between inliers and outliers (smooth L1 and balanced L1).",
        "  float; > 0; default 1.0",
        "  unit: encoded box coordinate",
        "  source: Libra R-CNN, section 3.3",
    ]


def test_defaults_are_those_of_the_place():
    num_bins = {
        place: explain(get_experiment(RETINA), f"task.losses.{place}.ghm.num_bins")[0]
        for place in ("box", "classification")
    }
    assert "default 10\n" in num_bins["box"]
    assert "default 30\n" in num_bins["classification"]


def test_choices_differ_where_the_detectors_do():
    kinds = {
        name: find(get_experiment(name), "task.losses.box.type")[0].limits.choices
        for name in (FASTER, RETINA)
    }
    assert set(kinds[RETINA]) - set(kinds[FASTER]) == {"ghm_r"}


def test_inherited_settings_keep_model_gardens_meaning_and_our_limits():
    (field,) = find(get_experiment(FASTER), "trainer.steps_per_loop")
    assert not is_declared_here(field)
    (text,) = explain(get_experiment(FASTER), field.path)
    assert "number of steps per loop to report training metrics" in text
    assert "int; >= 1; default 1000" in text


def test_a_section_is_all_that_is_in_it():
    fields = find(get_experiment(FASTER), "task.model.roi_sampler")
    paths = {field.path for field in fields}
    assert "task.model.roi_sampler.num_bins" in paths
    assert "task.model.roi_sampler.score_ranked.k" in paths
    assert all(path.startswith("task.model.roi_sampler.") for path in paths)
    assert find(get_experiment(FASTER), "task.model.roi") == []
