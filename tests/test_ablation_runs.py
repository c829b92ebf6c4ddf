"""ablation.scales and runs: order, command lines, scales, and what may not change."""

import dataclasses
import functools
import json
import os

import pytest

from libra_tf.ablation.plan import Plan, Row
from libra_tf.ablation.plan_reader import load_plan
from libra_tf.ablation.runs import (
    RESULT_KEYS,
    begin,
    build_runs,
    check_settings,
    read_result,
)
from libra_tf.ablation.scales import OVERLAYS, layers, load
from libra_tf.errors import UserError
from libra_tf.experiments.files import find_config, plan_files
from libra_tf.experiments.saved import get_experiment, read_yaml

PLANS = plan_files()
TABLE2 = load_plan("libra_table2")
SMALL = read_yaml(find_config("two_core/fasterrcnn"))
STEPS = "trainer.train_steps"
DECAY = "trainer.optimizer_config.learning_rate.cosine.decay_steps"


def one_row(**changes):
    row = Row("a", ("libra/table2/1_baseline",), {}, {}, {}, None)
    row = dataclasses.replace(row, **changes)
    return Plan("mine", "mine.yaml", "Mine", "", (row,)), row


def at(settings, key):
    for part in key.split("."):
        settings = settings[part]
    return settings


def leaves(values, path=""):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def difference(one, other):
    one, other = dict(leaves(one)), dict(leaves(other))
    keys = one.keys() | other.keys()
    return {k: other.get(k) for k in keys if one.get(k) != other.get(k)}


GOOD_RESULT = dict.fromkeys(RESULT_KEYS, "a") | {"metrics": {"AP": 1.0}}


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([], "is not the result of a run"),
        ({}, "has no 'command'"),
        ({**GOOD_RESULT, "metrics": {"AP": "x"}}, "metrics are not numbers"),
        ({**GOOD_RESULT, "metrics": None}, "metrics are not numbers"),
    ],
)
def test_a_result_that_is_none(tmp_path, result, message):
    path = tmp_path / "result.json"
    path.write_text(json.dumps(GOOD_RESULT))
    assert read_result(path) == GOOD_RESULT
    path.write_text(json.dumps(result))
    with pytest.raises(UserError, match=f"{path}: {message}.*remove the file"):
        read_result(path)


def test_all_rows_of_a_seed_come_first(records, tmp_path):
    rows = TABLE2.choose(["1_baseline", "4_balanced_l1"])
    runs = build_runs(
        TABLE2, rows, [1, 5], scale="two_core", data=records, out=str(tmp_path)
    )
    found = [(run.row, run.seed) for run in runs]
    names = ["1_baseline", "4_balanced_l1"]
    assert found == [(name, seed) for seed in (1, 5) for name in names]
    last = runs[-1]
    assert last.folder == str(tmp_path / "runs" / "4_balanced_l1" / "seed5")
    assert last.settings["trainer"]["seed"] == 5
    assert last.settings["task"]["dataset"] == records
    assert last.words == (
        "train", "--config", "libra/table2/4_balanced_l1", "--config",
        "two_core/fasterrcnn", "--data", records, "--seed", "5", "--out", last.folder,
    )  # fmt: skip
    assert json.loads(json.dumps(last.settings)) == last.settings


def test_layers_go_in_order(records):
    plan, row = one_row(
        settings={"task.model.roi_sampler.num_sampled_rois": 64, STEPS: 10},
        two_core={"task.model.roi_sampler.num_sampled_rois": 32},
    )
    files, texts = layers(plan, row, "coco", [])
    assert files == ["libra/table2/1_baseline"]
    settings, defaults = load(files, texts, records)
    assert settings["task"]["model"]["input_size"][0] == 1024
    assert defaults["task"]["model"]["neck"]["type"] == "none"
    assert defaults.keys() == settings.keys()
    files, texts = layers(plan, row, "two_core", ["task.losses.box.beta=0.5"])
    assert files == ["libra/table2/1_baseline", "two_core/fasterrcnn"]
    settings, _ = load(files, texts, records)
    assert at(settings, "task.model.roi_sampler.num_sampled_rois") == 32
    assert at(settings, "task.losses.box.beta") == 0.5
    assert at(settings, "task.model.input_size") == at(SMALL, "task.model.input_size")
    assert at(settings, STEPS) == 10


@pytest.mark.parametrize("value", [1e-5, [1, 2], "x y", None, True, {}, -0.5])
def test_values_of_a_plan_come_through_the_command_line(value):
    from libra_tf.ablation.scales import _yaml
    from libra_tf.experiments.saved import parse_override

    assert parse_override(f"a.b={_yaml(value)}") == {"a": {"b": value}}


def test_the_schedule_is_as_long_as_the_training(records):
    plan, row = one_row()
    files, texts = layers(plan, row, "two_core", [f"{STEPS}=40"])
    settings, _ = load(files, texts, records)
    assert (at(settings, STEPS), at(settings, DECAY)) == (40, 40)
    assert at(settings, "trainer.validation_interval") == 40
    own = [f"{STEPS}=40", f"{DECAY}=80"]
    settings, _ = load(*layers(plan, row, "two_core", own), records)
    assert at(settings, DECAY) == 80
    # The paper's stepwise schedule says itself where it drops.
    assert layers(plan, row, "coco", [f"{STEPS}=40"])[1] == [f"{STEPS}=40"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"configs": ("libra/table2/baseline",)}, "libra/table2/baseline: no such fi"),
        ({"settings": {"task.lossses.x": 1}}, "there is no setting task.lossses; did"),
        ({"two_core": {"task.model.nek": 1}}, "no setting task.model.nek; did you "),
    ],
)
def test_a_mistake_in_a_row_names_plan_and_row(changes, message):
    plan, row = one_row(**changes)
    with pytest.raises(UserError) as caught:
        layers(plan, row, "two_core", [])
    assert str(caught.value).startswith("mine.yaml: row a: ")
    assert message in str(caught.value)


def test_an_experiment_without_a_small_scale(tmp_path):
    path = tmp_path / "mask.yaml"
    path.write_text("experiment: libra_maskrcnn_resnetfpn_coco\n")
    plan, row = one_row(configs=(str(path),))
    with pytest.raises(UserError, match="libra_maskrcnn_resnetfpn_coco has no two_co"):
        layers(plan, row, "two_core", [])


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_small_scale_sets_no_method(name):
    settings = dict(leaves(read_yaml(find_config(OVERLAYS[name]))))
    methods = ("neck", "positives", "negatives", "rpn_sampler", "num_bins", "box",
               "normalizer", "focal", "threshold", "ignore", "fraction")  # fmt: skip
    assert not [k for k in settings if any(m in k.split(".") for m in methods)]
    assert not [k for k in settings if "focal" in k or "threshold" in k]
    # Nothing in it is the experiment's own already.
    own = get_experiment(settings.pop("experiment")).as_dict()
    assert (
        settings.keys() & {k for k, v in leaves(own) if settings.get(k) == v} == set()
    )


PAIRS = [
    (name, row.name)
    for name in PLANS
    for row in load_plan(name).rows
    if row.baseline is not None
]


@functools.cache
def settings_of(plan, row_name, scale, records):
    """Those of a row, which several rows are compared with."""
    plan = load_plan(plan)
    (row,) = (row for row in plan.rows if row.name == row_name)
    return load(*layers(plan, row, scale, []), records)[0]


@pytest.mark.parametrize(("name", "row_name"), PAIRS)
def test_a_row_differs_from_its_baseline_as_in_the_paper(name, row_name, records):
    """Small or not, the same settings differ, but for those of the small scale."""
    plan = load_plan(name)
    row = next(r for r in plan.rows if r.name == row_name)
    if row.two_core:
        pytest.skip("the row has settings of its own in the small scale")
    found = {}
    for scale in ("coco", "two_core"):
        both = [settings_of(name, r, scale, records) for r in (row.baseline, row_name)]
        found[scale] = difference(*both)
    files, _ = layers(plan, row, "two_core", [])
    replaced = dict(leaves(read_yaml(find_config(files[-1])))).keys()
    known = dict(leaves(both[1])).keys()  # it has another schedule
    coco = {k: v for k, v in found["coco"].items() if k in known - replaced}
    assert found["two_core"] == coco
    assert coco


def small_run(data, out, **keys):
    plan, row = one_row()
    texts = [f"{key}={value}" for key, value in keys.items()]
    return build_runs(
        plan, [row], [1], scale="two_core", data=data, out=str(out), overrides=texts
    )


def test_changed_settings_are_refused_or_forced(records, tmp_path):
    (run,) = small_run(records, tmp_path)
    check_settings([run], force=False)
    assert not run.started
    begin(run)
    assert run.started
    check_settings(small_run(records, tmp_path), force=False)
    other = small_run(records, tmp_path, **{"task.losses.box.beta": 0.5})
    with pytest.raises(UserError, match=r"task.losses.box.beta = 1.0, not 0.5; gi"):
        check_settings(other, force=False)
    assert run.started
    check_settings(other, force=True)
    assert not os.path.exists(run.folder)


def test_a_folder_of_something_else_is_left_alone(records, tmp_path):
    (run,) = small_run(records, tmp_path)
    os.makedirs(run.folder)
    (tmp_path / "runs" / "a" / "seed1" / "thesis.txt").write_text("x")
    for force in (False, True):
        with pytest.raises(UserError, match="holds files, but no run of `libra abl"):
            check_settings([run], force)
    assert os.path.isfile(os.path.join(run.folder, "thesis.txt"))
