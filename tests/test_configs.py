"""The experiment files: heads, bodies, and the detectors that they describe."""

import json
import re

import pytest
import tf_keras
import yaml
from official.core import task_factory

import libra_tf.tasks  # noqa: F401  (registration)
from libra_tf.commands.main import main
from libra_tf.experiments.files import config_files
from libra_tf.experiments.resolve import resolve
from libra_tf.experiments.saved import get_experiment, load_experiment
from libra_tf.models.maskrcnn import build_roi_sampler
from libra_tf.models.neck import DecoderWithNeck
from libra_tf.samplers import RoISampler

FILES = config_files()
TABLES = [name for name in FILES if name.startswith("libra/table")]
PUBLISHED = [name for name in FILES if name.startswith("libra/")]
# Built at 128 pixels instead of 1024: the weights are the same.
SMALL = [128, 128, 3]
# A ResNet-50 takes seconds to build: one per experiment, the others with --slow.
BUILT_ALWAYS = (
    "libra/table1/libra_fasterrcnn_r50_1x",
    "libra/switches_off_maskrcnn",
    "libra/table1/libra_retinanet_r50_1x",
)
SWITCHES = (
    "task.model.neck.",
    "task.model.rpn_sampler.",
    "task.model.roi_sampler.positives",
    "task.model.roi_sampler.negatives",
    "task.model.roi_sampler.ignore_padding",
    "task.losses.box.",
    "task.losses.normalizer",
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A converted folder with masks, three classes, splits train and val."""
    folder = tmp_path_factory.mktemp("data")
    shapes, out = str(folder / "shapes"), str(folder / "tfr")
    words = ["--train", "2", "--val", "1", "--size", "64"]
    assert main(["data", "synthesize", shapes, *words]) == 0
    assert main(["data", "convert", shapes, "--out", out, "--workers", "1"]) == 0
    return out


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
    assert counts == {"table1": 8, "table2": 4, "table4": 4, "table5": 2, "table6": 10}


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
        assert re.search(r"\bAP \d\d\.\d", labels["Expected"])
        assert labels["Expected"].endswith("Published; not measured here.")


@pytest.mark.parametrize("name", TABLES)
def test_hours_follow_from_the_time_of_a_step(name):
    text = head(name)["Hardware"]
    pattern = r"(\d+) epochs;.* ([\d.]+) h .* ([\d.]+) s per iteration x ([\d,]+) "
    epochs, hours, seconds, steps = re.search(pattern, text).groups()
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
def test_resolves_with_a_data_set(name, dataset):
    params = load_experiment(None, [FILES[name]], [f"task.dataset={dataset}"])
    resolve(params)
    assert params.task.model.num_classes == 4
    assert params.task.train_data.input_path.startswith(dataset)


def test_no_two_rows_of_a_table_are_the_same():
    seen = {}
    for name in TABLES:
        params = load_experiment(None, [FILES[name]])
        key = (name.split("/")[1], json.dumps(params.as_dict(), sort_keys=True))
        assert key not in seen, f"{name} equals {seen[key]}"
        seen[key] = name


# Neck, refinement, positives, negatives, K, box loss of the ablation rows.
RANDOM = ("random", "random", 3)
BALANCED = ("instance_balanced", "iou_balanced", 3)
ABLATIONS = {
    "table2/1_baseline": ("none", *RANDOM, "smooth_l1"),
    "table2/2_iou_balanced_sampling": ("none", *BALANCED, "smooth_l1"),
    "table2/3_balanced_feature_pyramid": ("non_local", *BALANCED, "smooth_l1"),
    "table2/4_balanced_l1": ("non_local", *BALANCED, "balanced_l1"),
    "table4/pos_balance": ("none", "instance_balanced", "random", 3, "smooth_l1"),
    "table4/k2": ("none", *BALANCED[:2], 2, "smooth_l1"),
    "table4/k3": ("none", *BALANCED, "smooth_l1"),
    "table4/k5": ("none", *BALANCED[:2], 5, "smooth_l1"),
    "table5/1_integration": ("integration", *RANDOM, "smooth_l1"),
    "table5/2_refinement": ("non_local", *RANDOM, "smooth_l1"),
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablation_row(name):
    task = load_experiment(None, [FILES[f"libra/{name}"]]).task
    neck, sampler = task.model.neck, task.model.roi_sampler
    pyramid = "integration" if neck.refine == "none" else neck.refine
    found = (
        "none" if neck.type == "none" else pyramid,
        sampler.positives,
        sampler.negatives,
        sampler.num_bins,
        task.losses.box.type,
    )
    assert found == ABLATIONS[name]
    assert sampler.ignore_padding
    assert task.model.rpn_sampler.neg_pos_ub == 0


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
    smooth = [("smooth_l1", weight) for weight in (1.5, 2.0)]
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


def detectors():
    """One file for each different detector; the samplers have no weights."""
    different = {}
    for name, path in FILES.items():
        params = load_experiment(None, [path])
        model = params.task.model.as_dict()
        for part in ("roi_sampler", "rpn_sampler", "roi_generator"):
            model.pop(part, None)
        key = params.experiment + json.dumps(model, sort_keys=True)
        different.setdefault(key, (name, model["backbone"]["resnet"]["model_id"]))
    return [
        pytest.param(
            name,
            id=name,
            marks=[pytest.mark.slow]
            if depth >= 50 and name not in BUILT_ALWAYS
            else [],
        )
        for name, depth in different.values()
    ]


@pytest.mark.parametrize("name", detectors())
def test_builds(name):
    tf_keras.backend.clear_session()
    params = load_experiment(None, [FILES[name]])
    config = params.task.model
    config.num_classes = 4
    if name.startswith("libra/"):
        config.input_size = SMALL
    model = task_factory.get_task(params.task).build_model()
    assert isinstance(model.decoder, DecoderWithNeck) == (config.neck.type != "none")
    levels = range(config.min_level, config.max_level + 1)
    assert list(model.decoder.output_specs) == [str(level) for level in levels]
    frozen = len(model.backbone.variables) - len(model.backbone.trainable_variables)
    moving = sum("moving" in v.name for v in model.backbone.variables)
    assert moving > 0
    assert (frozen > moving) == (config.frozen_stages > 0)


def test_samplers_of_all_files():
    seen = set()
    for path in FILES.values():
        model = load_experiment(None, [path]).task.model
        if hasattr(model, "roi_sampler"):
            sampler = build_roi_sampler(model.roi_sampler)
            assert (sampler is None) == model.roi_sampler.is_stock
            assert sampler is None or isinstance(sampler, RoISampler)
            if sampler is not None:
                config = sampler.get_config()
                seen.add((config["positives"], config["negatives"], config["num_bins"]))
    assert {row[3] for row in ABLATIONS.values()} == {bins for *_, bins in seen}
    assert ("instance_balanced", "random", 3) in seen
