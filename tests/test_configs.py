"""The experiment files: heads, bodies, and the detectors that they describe."""

import json
import re

import pytest
import tf_keras
import yaml
from official.core import task_factory

import libra_tf.tasks  # noqa: F401  (registration)
from libra_tf.ablation.plan_reader import load_plan
from libra_tf.experiments.files import config_files
from libra_tf.experiments.resolve import resolve
from libra_tf.experiments.saved import get_experiment, load_experiment, override
from libra_tf.layers import BalancedFeaturePyramid, PathAggregation
from libra_tf.models.maskrcnn import build_roi_sampler
from libra_tf.models.neck import DecoderWithNeck, NeckChain, build_neck
from libra_tf.samplers import RoISampler
from libra_tf.tasks.evaluator import proposal_numbers

FILES = config_files()
TABLES = [name for name in FILES if name.startswith("libra/table")]
PUBLISHED = [name for name in FILES if name.startswith("libra/")]
SURVEY = [name for name in FILES if name.startswith("survey/")]
# Built at 128 pixels instead of 1024: the weights are the same.
SMALL = [128, 128, 3]
SWITCHES = (
    "task.model.neck.",
    "task.model.clip_to_image",
    "task.model.rpn_sampler.",
    "task.model.roi_sampler.positives",
    "task.model.roi_sampler.negatives",
    "task.model.roi_sampler.ignore_padding",
    "task.losses.box.",
    "task.losses.normalizer",
)


def head(name):
    """The opening comment of a file by label; the title is under ""."""
    with open(FILES[name], encoding="utf-8") as file:
        lines = file.read().split("\n")
    labels, label = {}, ""
    for line in lines:
        if not line.startswith("#"):
            return labels
        match = re.match(r"# ([A-Z][a-z]+): (.*)", line)
        label, text = match.groups() if match else (label, line.lstrip("# "))
        labels[label] = f"{labels.get(label, '')} {text}".strip()
    return labels


def body(name):
    with open(FILES[name], encoding="utf-8") as file:
        return yaml.safe_load(file)


def leaves(values, path=""):
    """Yields the dotted path and value of every setting."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def value_at(config, path):
    for part in path.split("."):
        config = getattr(config, part)
    return list(config) if isinstance(config, tuple) else config


def useless(name):
    """Settings of a file that the experiment has already."""
    content = body(name)
    experiment = get_experiment(content.pop("experiment"))
    return [path for path, v in leaves(content) if value_at(experiment, path) == v]


def differences(one, other):
    one, other = dict(leaves(one.as_dict())), dict(leaves(other.as_dict()))
    return {k for k in one.keys() | other.keys() if one.get(k) != other.get(k)}


def test_the_tables_of_the_paper_are_there():
    counts = {}
    for name in TABLES:
        table = name.split("/")[1]
        counts[table] = counts.get(table, 0) + 1
    assert counts == {
        "table1": 8,
        "table2": 4,
        "table3": 3,
        "table4": 5,
        "table5": 5,
        "table6": 11,
    }


@pytest.mark.parametrize("name", FILES)
def test_head(name):
    labels = head(name)
    assert labels.get(""), "the first line says what the file is"
    wanted = {"Expected", "Hardware", "Command"}
    assert wanted <= labels.keys()
    command, experiment = labels["Command"], body(name)["experiment"]
    if "libra_tf.train" in command:
        assert f"--experiment={experiment} " in command
        assert f"--config_file=configs/{name}.yaml" in command
        assert "task.dataset=" in command


@pytest.mark.parametrize("name", PUBLISHED)
def test_head_of_a_published_row(name):
    labels = head(name)
    assert "Paper" in labels
    assert "Differs" in labels
    if name in TABLES:
        table = name.split("/")[1].replace("table", "Table ")
        assert labels["Paper"].startswith(f"Libra R-CNN (CVPR 2019), {table}, row")
        metric = "AR@1000" if table == "Table 3" else "AP"
        assert re.search(rf"\b{metric} \d\d\.\d", labels["Expected"])
        assert labels["Expected"].endswith("Published; not measured here.")


@pytest.mark.parametrize("name", SURVEY)
def test_head_of_a_survey_row(name):
    labels = head(name)
    assert "survey" in labels["Paper"]
    assert "(arXiv 2006.09238)" in labels["Paper"]
    assert "Differs" in labels
    assert labels["Expected"].lower().endswith("not measured here.")
    timed = "s per iteration" in labels["Hardware"]
    assert timed or "not measured" in labels["Hardware"]


@pytest.mark.parametrize("name", PUBLISHED + SURVEY)
def test_hours_follow_from_the_time_of_a_step(name):
    text = head(name)["Hardware"]
    pattern = r"(\d+) epochs;.* ([\d.]+) h .* ([\d.]+) s per iteration x ([\d,]+) "
    match = re.search(pattern, text)
    if match is None:
        assert name not in TABLES
        return
    epochs, hours, seconds, steps = match.groups()
    steps = int(steps.replace(",", ""))
    assert load_experiment(None, [FILES[name]]).trainer.train_steps == steps
    assert steps == int(epochs) * (118287 // 16)
    assert float(hours) == round(steps * float(seconds) / 3600, 1)


def test_the_2x_schedule_drops_at_epochs_16_and_22():
    for name in TABLES:
        trainer = load_experiment(None, [FILES[name]]).trainer
        drops = trainer.optimizer_config.learning_rate.stepwise.boundaries
        epochs = [drop / (118287 // 16) for drop in drops]
        assert epochs == ([16, 22] if name.endswith("_2x") else [8, 11])


@pytest.mark.parametrize("name", FILES)
def test_body_is_only_the_delta(name):
    assert useless(name) == []


def test_a_setting_that_changes_nothing_is_found(tmp_path, monkeypatch):
    path = tmp_path / "mine.yaml"
    text = "task: {model: {neck: {refine_level: 4, refine: conv}}}\n"
    path.write_text(f"experiment: libra_retinanet_resnetfpn_coco\n{text}")
    monkeypatch.setitem(FILES, "mine", str(path))
    assert useless("mine") == ["task.model.neck.refine_level"]


@pytest.mark.parametrize("name", FILES)
def test_resolves_with_a_data_set(name, records):
    params = load_experiment(None, [FILES[name]], [f"task.dataset={records}"])
    resolve(params)
    assert params.task.model.num_classes == 4
    assert params.task.train_data.input_path.startswith(records)


def test_no_two_rows_of_a_table_are_the_same():
    seen = {}
    for name in TABLES:
        params = load_experiment(None, [FILES[name]])
        key = (name.split("/")[1], json.dumps(params.as_dict(), sort_keys=True))
        assert key not in seen, f"{name} equals {seen[key]}"
        seen[key] = name


# Which settings belong to a level of imbalance.
LEVELS = {
    "sample": "task.model.roi_sampler.",
    "feature": "task.model.neck.",
    "objective": "task.losses.box.",
}
# Rows of the paper's ablations: the row that each builds on, and the one level that it
# changes (the sampler's two sides and its K are one level).
STEPS = {
    "table2/2_iou_balanced_sampling": ("table2/1_baseline", "sample"),
    "table2/3_balanced_feature_pyramid": ("table2/2_iou_balanced_sampling", "feature"),
    "table2/4_balanced_l1": ("table2/3_balanced_feature_pyramid", "objective"),
    "table4/pos_balance": ("table4/baseline", "sample"),
    "table4/k2": ("table4/k3", "sample"),
    "table4/k3": ("table4/pos_balance", "sample"),
    "table4/k5": ("table4/k3", "sample"),
    "table5/1_integration": ("table5/0_baseline", "feature"),
    "table5/2_refinement": ("table5/1_integration", "feature"),
    "table5/3_pafpn": ("table5/0_baseline", "feature"),
    "table5/4_balanced_pafpn": ("table5/3_pafpn", "feature"),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_row_changes_one_level_of_the_row_that_it_builds_on(name):
    before, level = STEPS[name]
    rows = [load_experiment(None, [FILES[f"libra/{n}"]]) for n in (name, before)]
    changed = differences(*rows)
    assert changed
    assert all(key.startswith(LEVELS[level]) for key in changed), changed


def test_the_three_tables_start_from_one_baseline_and_end_at_libra():
    same = (
        ("table2/1_baseline", "table1/fasterrcnn_r50_1x"),
        ("table4/baseline", "table2/1_baseline"),
        ("table5/0_baseline", "table2/1_baseline"),
        ("table4/k3", "table2/2_iou_balanced_sampling"),
    )
    for names in same:
        rows = [load_experiment(None, [FILES[f"libra/{n}"]]) for n in names]
        assert differences(*rows) == set(), names
    ends = ("table2/4_balanced_l1", "table1/libra_fasterrcnn_r50_1x")
    rows = [load_experiment(None, [FILES[f"libra/{n}"]]) for n in ends]
    # The released Libra config bounds the RPN's negatives too; the ablation does not.
    assert differences(*rows) == {"task.model.rpn_sampler.neg_pos_ub"}


def test_what_a_row_is_called_is_what_its_detector_has():
    for bins in (2, 3, 5):
        params = load_experiment(None, [FILES[f"libra/table4/k{bins}"]])
        rule = build_roi_sampler(params.task.model.roi_sampler).rule
        assert (rule.num_bins, rule.negatives) == (bins, "iou_balanced")
    layers = {
        "1_integration": ([BalancedFeaturePyramid], None),
        "2_refinement": ([BalancedFeaturePyramid], "non_local"),
        "3_pafpn": ([PathAggregation], None),
        "4_balanced_pafpn": ([PathAggregation, BalancedFeaturePyramid], "non_local"),
    }
    for name, (kinds, refine) in layers.items():
        neck = load_experiment(None, [FILES[f"libra/table5/{name}"]]).task.model.neck
        built = build_neck(neck)
        parts = built.necks if isinstance(built, NeckChain) else [built]
        assert [type(part) for part in parts] == kinds, name
        assert parts[-1].get_config().get("refine") == refine


def test_box_losses_of_table_6():
    found = []
    for name in TABLES:
        if "/table6/" in name:
            task = load_experiment(None, [FILES[name]]).task
            assert task.model.neck.type == "none"
            assert task.model.roi_sampler.negatives == "random"
            box = task.losses.box
            grid = (box.alpha, box.gamma) if box.type == "balanced_l1" else ()
            found.append((box.type, box.weight, *grid))
    smooth = [("smooth_l1", weight) for weight in (1.0, 1.5, 2.0)]
    absolute = [("l1", weight) for weight in (1.0, 1.5, 2.0)]
    grid = [(0.2, 1.0), (0.3, 1.0), (0.5, 1.0), (0.5, 1.5), (0.5, 2.0)]
    balanced = [("balanced_l1", 1.0, *pair) for pair in grid]
    assert sorted(found) == sorted(smooth + absolute + balanced)


def test_baselines_of_table_1_have_no_switch_on():
    for name in TABLES:
        if name.startswith(("libra/table1/faster", "libra/table1/retina")):
            task = load_experiment(None, [FILES[name]]).task
            assert task.model.neck.type == "none"
            assert task.losses.box.type == "smooth_l1"
            assert task.losses.box.beta == (0.11 if "retina" in name else 1.0)
            if "faster" in name:
                assert task.model.roi_sampler.negatives == "random"
                assert task.model.roi_sampler.positives == "random"
                assert task.model.rpn_sampler.neg_pos_ub == 0


def test_proposals_of_table_3():
    found = {}
    for name in TABLES:
        if "/table3/" in name:
            params = load_experiment(None, [FILES[name]])
            task, model = params.task, params.task.model
            # The RPN alone is trained, and a thousand proposals of it are judged.
            assert (task.losses.frcnn_class_weight, task.losses.frcnn_box_weight) == (
                0,
                0,
            )
            assert (task.losses.rpn_score_weight, task.losses.rpn_box_weight) == (1, 1)
            assert params.trainer.best_checkpoint_export_subdir == ""
            numbers = proposal_numbers(model.roi_generator.test_num_proposals)
            assert task.evaluate_proposals
            assert numbers == (100, 300, 1000)
            rpn = model.rpn_sampler
            found[name.split("/")[-1]] = (
                model.backbone.resnet.model_id,
                model.neck.type,
                rpn.negatives,
                rpn.num_bins,
                rpn.neg_pos_ub,
            )
    assert found == {
        "rpn_r50_1x": (50, "none", "random", 3, 0),
        "rpn_r101_1x": (101, "none", "random", 3, 0),
        "libra_rpn_r50_1x": (50, "balanced_feature_pyramid", "iou_balanced", 3, 5),
    }


# The part of the detector that a method of the survey replaces, beside the schedule and
# inference that its release comes with.
SAMPLING = ("task.model.roi_sampler.", "task.model.rpn_sampler.")
ROIS = ("task.model.roi_generator.",)
CLASSES, WEIGHTS = ("task.losses.classification.",), ("task.losses.isr.",)
CARL, GUIDED = ("task.losses.carl.",), ("task.losses.guided.", "task.model.prior.")
BOXES, SCORES = ("task.losses.box.",), ("task.model.detection_generator.",)
RELEASE = ("trainer.", "task.train_data.parser.", "task.model.input_size")
DIVISORS = ("task.losses.normalizer",)
OBJECTNESS = ("task.model.objectness.",)
SURVEY_PARTS = {
    "fasterrcnn_biased": (),
    "fasterrcnn_ohem": SAMPLING,
    "fasterrcnn_ohem_without_quota": SAMPLING,
    "fasterrcnn_iou_balanced": SAMPLING,
    "fasterrcnn_isr": SAMPLING + ROIS + WEIGHTS,
    "fasterrcnn_pisa": SAMPLING + ROIS + WEIGHTS + CARL,
    "fasterrcnn_no_sampling": SAMPLING + ROIS + DIVISORS,
    "fasterrcnn_sampling_free": SAMPLING
    + ROIS
    + DIVISORS
    + GUIDED
    + SCORES
    + ("task.losses.rpn_box_weight",),
    "fasterrcnn_residual_objectness": OBJECTNESS,
    "retinanet_focal": (),
    "retinanet_focal_model_garden": ("task.losses.focal_loss_gamma",),
    "retinanet_cross_entropy": CLASSES,
    "retinanet_ghm_c": CLASSES,
    "retinanet_ghm_c_r": CLASSES + BOXES,
    "retinanet_isr_p": WEIGHTS,
    "retinanet_pisa": WEIGHTS + CARL,
    "retinanet_ap_loss": CLASSES
    + BOXES
    + SCORES
    + RELEASE
    + ("task.model.anchor.num_scales",),
    "retinanet_dr_loss": CLASSES + BOXES + SCORES + RELEASE + ("task.model.prior.",),
    "retinanet_residual_objectness": CLASSES + BOXES + OBJECTNESS,
    "retinanet_sampling_free": CLASSES + BOXES + SCORES + RELEASE + GUIDED,
}
# Numbers of the releases that no other test knows: spec of each in its file's head.
RELEASED = {
    ("retinanet_ap_loss", "trainer.train_steps"): 100 * 7392,
    ("retinanet_ghm_c_r", "task.losses.box.weight"): 10.0,
    ("retinanet_sampling_free", "task.model.detection_generator.nms_iou_threshold"): (
        0.55
    ),
    ("retinanet_dr_loss", "task.model.prior.value"): 0.5,
    ("fasterrcnn_isr", "task.model.roi_sampler.score_ranked.k"): 0.5,
    ("fasterrcnn_isr", "task.losses.isr.k"): 2.0,
    ("retinanet_pisa", "task.losses.carl.bias"): 0.2,
}
SURVEY_BASELINES = {
    "fasterrcnn": "survey/fasterrcnn_biased",
    "retinanet": "survey/retinanet_focal",
}


def test_all_rows_of_the_survey_are_there():
    assert [name.removeprefix("survey/") for name in SURVEY] == sorted(SURVEY_PARTS)


@pytest.mark.parametrize("name", SURVEY)
def test_survey_row_changes_its_baseline_only_where_the_method_does(name):
    row = name.removeprefix("survey/")
    baseline = SURVEY_BASELINES[row.split("_")[0]]
    params = load_experiment(None, [FILES[name]])
    changed = differences(params, load_experiment(None, [FILES[baseline]]))
    assert bool(changed) == (name != baseline)
    outside = [key for key in changed if not key.startswith(SURVEY_PARTS[row])]
    assert outside == []
    used = [p for p in SURVEY_PARTS[row] if any(k.startswith(p) for k in changed)]
    assert set(SURVEY_PARTS[row]) - set(used) <= {*SAMPLING, *RELEASE}


@pytest.mark.parametrize(("row", "setting"), RELEASED)
def test_a_number_of_the_release(row, setting):
    params = load_experiment(None, [FILES[f"survey/{row}"]])
    assert value_at(params, setting) == RELEASED[row, setting]


def test_survey_baselines_are_the_plain_detectors_of_table_1():
    pairs = {
        "survey/fasterrcnn_biased": "libra/table1/fasterrcnn_r50_1x",
        "survey/retinanet_focal": "libra/table1/retinanet_r50_1x",
    }
    for one, other in pairs.items():
        loaded = [load_experiment(None, [FILES[name]]) for name in (one, other)]
        assert differences(*loaded) == set()


def test_plan_of_the_survey_has_every_row_and_its_number():
    plan = load_plan("survey_table1")
    assert sorted(name for row in plan.rows for name in row.configs) == SURVEY
    for row in plan.rows:
        assert row.configs == (f"survey/{row.name}",)
        detector = row.name.split("_")[0]
        is_baseline = SURVEY_BASELINES[detector] == row.configs[0]
        assert row.baseline == (
            None if is_baseline else SURVEY_BASELINES[detector].split("/")[1]
        )
        expected = head(row.configs[0])["Expected"]
        for number in row.published.values():
            assert f"AP {number}" in expected
        # A number over another baseline than the plan's would give a wrong difference.
        base = re.search(r"\(baseline ([\d.]+)", expected)
        if row.published and not is_baseline and base:
            of_plan = {"fasterrcnn": 36.4, "retinanet": 35.6}[detector]
            assert float(base.group(1)) == row.published_over.get("AP", of_plan)


@pytest.mark.parametrize("detector", ["fasterrcnn", "retinanet"])
def test_extras_change_one_thing_in_the_complete_method(detector):
    complete = load_experiment(None, [FILES[f"libra/table1/libra_{detector}_r50_1x"]])
    for row, change in {
        "half_box_weight": {"task.losses.box.weight": 0.5},
        "guided": {"task.losses.guided.enabled": True},
    }.items():
        params = load_experiment(None, [FILES[f"libra/extras/libra_{detector}_{row}"]])
        changed = differences(params, complete)
        assert {key: value_at(params, key) for key in changed} == change


@pytest.mark.parametrize("detector", ["fasterrcnn", "retinanet"])
def test_bccd_pairs_differ_in_our_switches_only(detector):
    ours = load_experiment(None, [FILES[f"bccd/libra_{detector}"]])
    stock = load_experiment(None, [FILES[f"bccd/tfm_{detector}"]])
    changed = differences(ours, stock)
    assert changed
    assert [key for key in changed if not key.startswith(SWITCHES)] == []
    assert stock.task.model.neck.type == "none"
    assert (stock.task.losses.box.type, stock.task.losses.normalizer) == (
        "huber",
        "tfm",
    )
    if detector == "fasterrcnn":
        assert stock.task.model.roi_sampler.is_stock
        assert stock.task.model.rpn_sampler.neg_pos_ub == 0
    else:
        original = get_experiment("retinanet_resnetfpn_coco").task.losses
        for field in ("focal_loss_gamma", "huber_loss_delta", "box_loss_weight"):
            assert getattr(stock.task.losses, field) == getattr(original, field)


# What tells the layers of two detectors apart, once their widths are equal.
STRUCTURE = (
    "neck",
    "objectness",
    "include_mask",
    "min_level",
    "max_level",
    "frozen_stages",
)
FULL_SIZE = "libra/table1/libra_fasterrcnn_r50_1x"


def thin(params):
    """The same detector with few, narrow layers: depth and width are Model Garden's."""
    config = params.task.model
    config.num_classes = 4
    config.input_size = SMALL
    narrow = {
        "backbone": {"resnet": {"model_id": 10, "depth_multiplier": 0.25}},
        "decoder": {"fpn": {"num_filters": 16}},
    }
    if params.task.is_two_stage:
        narrow["detection_head"] = {"num_convs": 0, "num_fcs": 1, "fc_dims": 32}
    override(params, {"task": {"model": narrow}}, "test")
    return params


def detectors():
    """One file for each different detector; the samplers have no weights."""
    different = {}
    for name, path in FILES.items():
        params = load_experiment(None, [path])
        model = params.task.model.as_dict()
        key = json.dumps([params.experiment, *(model.get(k) for k in STRUCTURE)])
        different.setdefault(key, name)
    return list(different.values())


@pytest.mark.parametrize("name", detectors())
def test_builds(name):
    assert_built(thin(load_experiment(None, [FILES[name]])))


@pytest.mark.nightly
def test_builds_in_full_size():
    """Depth and widths, which Model Garden builds; the rest is built thin every day."""
    params = load_experiment(None, [FILES[FULL_SIZE]])
    params.task.model.num_classes, params.task.model.input_size = 4, SMALL
    assert_built(params)


def assert_built(params):
    tf_keras.backend.clear_session()
    config = params.task.model
    model = task_factory.get_task(params.task).build_model()
    assert isinstance(model.decoder, DecoderWithNeck) == (config.neck.type != "none")
    levels = range(config.min_level, config.max_level + 1)
    assert list(model.decoder.output_specs) == [str(level) for level in levels]
    frozen = len(model.backbone.variables) - len(model.backbone.trainable_variables)
    moving = sum("moving" in v.name for v in model.backbone.variables)
    assert moving > 0
    assert (frozen > moving) == (config.frozen_stages > 0)


def test_samplers_of_all_files():
    """The sampler of a file draws by the rule that the file says."""
    for name, path in FILES.items():
        task = load_experiment(None, [path]).task
        if task.is_two_stage:
            config = task.model.roi_sampler
            sampler = build_roi_sampler(config)
            stock = (config.positives, config.negatives) == ("random", "random")
            if stock and not config.ignore_padding:
                assert sampler is None, name
            else:
                assert sampler.rule == config.rule, name
                copy = RoISampler.from_config(sampler.get_config())
                assert copy.rule == config.rule, name
