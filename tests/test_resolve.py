"""experiments.resolve: what follows from what is written."""

import copy
import json

import pytest
import yaml

from libra_tf.commands.main import main
from libra_tf.errors import UserError
from libra_tf.experiments import NAMES
from libra_tf.experiments.resolve import resolve
from libra_tf.experiments.saved import dump_params, get_experiment, override

FASTER, MASK, RETINA = NAMES


def make(tmp_path_factory, *words):
    folder = tmp_path_factory.mktemp("data")
    shapes, out = str(folder / "shapes"), str(folder / "tfr")
    sizes = ["--train", "2", "--val", "1", "--size", "64"]
    assert main(["data", "synthesize", shapes, *sizes]) == 0
    flags = ["--out", out, "--workers", "1", *words]
    assert main(["data", "convert", shapes, *flags]) == 0
    return out


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A converted folder with three classes, without masks."""
    return make(tmp_path_factory, "--no-masks")


@pytest.fixture(scope="module")
def dataset_with_masks(tmp_path_factory):
    return make(tmp_path_factory)


@pytest.fixture
def coco_file(tmp_path):
    """A COCO file with categories 1 and 4."""
    path = tmp_path / "val.json"
    names = {1: "cell", 4: "plate"}
    categories = [{"id": i, "name": name} for i, name in names.items()]
    path.write_text(json.dumps({"categories": categories}))
    return str(path)


def experiment(name=FASTER, dataset="", **task):
    """An experiment without data set, unless one is given."""
    params = get_experiment(name)
    values = {"dataset": dataset, "init_checkpoint": "somewhere", **task}
    override(params, {"task": values}, "test")
    return params


def without_dataset(name=FASTER, **task):
    records = {"input_path": "*.tfrecord"}
    return experiment(name, train_data=records, validation_data=records, **task)


@pytest.mark.parametrize("name", [FASTER, RETINA])
def test_the_dataset_fills_in_what_follows_from_it(name, dataset):
    params = experiment(name, dataset)
    resolve(params)
    task = params.task
    assert task.train_data.input_path == f"{dataset}/train-*.tfrecord"
    assert task.validation_data.input_path == f"{dataset}/val-*.tfrecord"
    assert task.annotation_file == f"{dataset}/val.json"
    assert task.model.num_classes == 4
    assert task.class_names == ["background", "rectangle", "ellipse", "triangle"]


def test_what_is_written_goes_before_the_dataset(dataset, coco_file):
    params = experiment(
        dataset=dataset,
        annotation_file=coco_file,
        train_split="val",
        validation_data={"input_path": "mine-*"},
        model={"num_classes": 4},
    )
    resolve(params)
    assert params.task.train_data.input_path == f"{dataset}/val-*.tfrecord"
    assert params.task.validation_data.input_path == "mine-*"
    assert params.task.annotation_file == coco_file


@pytest.mark.parametrize("name", [FASTER, RETINA])
@pytest.mark.parametrize("batch_size", [2, 16, 48])
def test_twice_changes_nothing(name, batch_size, dataset):
    params = experiment(name, dataset, train_data={"global_batch_size": batch_size})
    resolve(params)
    once = copy.deepcopy(params.as_dict())
    resolve(params)
    assert params.as_dict() == once


def test_a_saved_experiment_resolves_to_itself(dataset):
    params = experiment(dataset=dataset, train_data={"global_batch_size": 4})
    resolve(params)
    text = dump_params(params)
    again = get_experiment(FASTER)
    override(again, yaml.safe_load(text), "saved")
    resolve(again)
    assert dump_params(again) == text


def test_num_classes_that_the_dataset_contradicts(dataset):
    params = experiment(dataset=dataset, model={"num_classes": 3})
    with pytest.raises(
        UserError, match=r"num_classes is 3, but .* up to 3, so it must be 4"
    ):
        resolve(params)


@pytest.mark.parametrize("num_classes", [0, 1, -2])
def test_num_classes_without_a_dataset(num_classes):
    params = without_dataset(model={"num_classes": num_classes})
    with pytest.raises(UserError, match=r"num_classes is not set: give task.dataset"):
        resolve(params)


def test_a_dataset_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"no dataset.json in .*libra data convert"):
        resolve(experiment(dataset=str(tmp_path)))


def test_a_split_that_is_not_there(dataset):
    with pytest.raises(UserError, match="no split 'test'; there are: train, val"):
        resolve(experiment(dataset=dataset, validation_split="test"))


def test_a_mask_detector_needs_masks(dataset, dataset_with_masks):
    with pytest.raises(UserError, match="split train was converted without masks"):
        resolve(experiment(MASK, dataset))
    params = experiment(MASK, dataset_with_masks)
    resolve(params)
    assert params.task.model.include_mask
    assert params.task.model.num_classes == 4


def test_an_annotation_file_that_is_not_there(tmp_path):
    params = without_dataset(
        model={"num_classes": 2}, annotation_file=str(tmp_path / "no.json")
    )
    with pytest.raises(UserError, match=r"annotation_file: .*no.json does not exist"):
        resolve(params)


def test_an_annotation_file_gives_the_class_names(coco_file):
    params = without_dataset(model={"num_classes": 5}, annotation_file=coco_file)
    resolve(params)
    assert params.task.class_names == ["background", "cell", "", "", "plate"]


def test_an_annotation_file_with_more_classes_than_the_model(coco_file):
    params = without_dataset(model={"num_classes": 4}, annotation_file=coco_file)
    with pytest.raises(UserError, match=r"id 4 needs task.model.num_classes 5, .* 4$"):
        resolve(params)


@pytest.mark.parametrize("content", ["[]", "{}", '{"categories": [{"id": 1}]}'])
def test_an_annotation_file_of_another_kind(tmp_path, content):
    path = tmp_path / "val.json"
    path.write_text(content)
    params = without_dataset(model={"num_classes": 2}, annotation_file=str(path))
    with pytest.raises(UserError, match=f"{path}: not a COCO annotation file"):
        resolve(params)


@pytest.mark.parametrize("content", ["", '{"categories": [{"id": 1, "na'])
def test_a_damaged_annotation_file(tmp_path, content):
    path = tmp_path / "val.json"
    path.write_text(content)
    params = without_dataset(model={"num_classes": 2}, annotation_file=str(path))
    with pytest.raises(UserError, match=f"^{path}: is ") as error:
        resolve(params)
    assert "\n" not in str(error.value)


def test_an_annotation_file_elsewhere_is_not_opened():
    params = without_dataset(model={"num_classes": 2}, annotation_file="gs://a/b.json")
    resolve(params)
    assert params.task.class_names == []


def rates(params):
    schedules = params.trainer.optimizer_config
    return (
        list(schedules.learning_rate.get().values),
        schedules.warmup.get().warmup_learning_rate,
    )


@pytest.mark.parametrize("batch_size", [4, 16, 64])
def test_learning_rates_scale_with_the_batch_once(batch_size):
    params = without_dataset(model={"num_classes": 2})
    override(
        params, {"task": {"train_data": {"global_batch_size": batch_size}}}, "test"
    )
    resolve(params)
    resolve(params)
    values, warmup = rates(params)
    scale = batch_size / 16
    assert values == pytest.approx([0.02 * scale, 0.002 * scale, 0.0002 * scale])
    assert warmup == pytest.approx(0.02 / 3 * scale)
    assert params.trainer.reference_batch_size == batch_size


def test_a_resolved_experiment_scales_to_another_batch():
    params = without_dataset(model={"num_classes": 2})
    for batch_size in (4, 8):
        override(
            params, {"task": {"train_data": {"global_batch_size": batch_size}}}, "test"
        )
        resolve(params)
    assert rates(params)[0][0] == pytest.approx(0.01)


def test_without_reference_batch_size_rates_stay():
    params = without_dataset(model={"num_classes": 2})
    override(params, {"trainer": {"reference_batch_size": 0}}, "test")
    override(params, {"task": {"train_data": {"global_batch_size": 2}}}, "test")
    resolve(params)
    assert rates(params)[0][0] == 0.02


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("constant", {"learning_rate": 0.4}, {"learning_rate": 0.1}),
        (
            "polynomial",
            {"initial_learning_rate": 0.4, "end_learning_rate": 0.04, "power": 2.0},
            {"initial_learning_rate": 0.1, "end_learning_rate": 0.01, "power": 2.0},
        ),
        (
            "cosine",
            {"initial_learning_rate": 0.4, "alpha": 0.5},
            {"initial_learning_rate": 0.1, "alpha": 0.5},
        ),
    ],
)
def test_every_schedule_of_model_garden_is_scaled(kind, before, after):
    params = without_dataset(model={"num_classes": 2})
    override(params, {"task": {"train_data": {"global_batch_size": 4}}}, "test")
    steps = {} if kind == "constant" else {"decay_steps": 9}
    schedule = {"learning_rate": {"type": kind, kind: before | steps}}
    override(params, {"trainer": {"optimizer_config": schedule}}, "test")
    resolve(params)
    found = params.trainer.optimizer_config.learning_rate.get().as_dict()
    assert {k: found[k] for k in after} == pytest.approx(after)


def test_rates_that_yaml_reads_as_text_are_numbers():
    """1e-3 is text in YAML 1.1; 1.0e-3 is a number."""
    params = without_dataset(model={"num_classes": 2})
    stepwise = yaml.safe_load("{values: [1e-2, 1.0e-3], boundaries: [5]}")
    assert stepwise["values"][0] == "1e-2"
    rates = {"learning_rate": {"stepwise": stepwise}}
    override(params, {"trainer": {"optimizer_config": rates}}, "test")
    params.task.train_data.global_batch_size = 4
    resolve(params)
    found = params.trainer.optimizer_config.learning_rate.get().values
    assert found == pytest.approx([0.0025, 0.00025])
