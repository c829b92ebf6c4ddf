"""experiments.saved: names, files, overrides, and back to text."""

import pytest
import yaml

from libra_tf.errors import UserError
from libra_tf.experiments import NAMES
from libra_tf.experiments.saved import (
    dump_params,
    get_experiment,
    load_experiment,
    load_run,
    override,
    parse_override,
    read_yaml,
)

FASTER, _, RETINA = NAMES


@pytest.fixture
def write(tmp_path):
    """Writes a YAML file; returns its path."""

    def write_file(text, name="x.yaml"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write_file


@pytest.mark.parametrize("name", [*NAMES, "fasterrcnn_resnetfpn_coco"])
def test_ours_and_model_gardens_experiments_have_names(name):
    assert get_experiment(name).task.model


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("libra_fasterrcnn", FASTER),
        ("libra_retinanet_resnet_coco", RETINA),
        ("fasterrcnn_resnetfpn_cocoo", "fasterrcnn_resnetfpn_coco"),
        ("%%%", FASTER),
    ],
)
def test_an_unknown_name_tells_the_nearest(name, near):
    with pytest.raises(UserError, match=f"is called {name!r}; near: .*{near}"):
        get_experiment(name)


def test_the_file_names_its_experiment(write):
    path = write(f"experiment: {RETINA}\ntrainer: {{train_steps: 5}}")
    params = load_experiment(config_files=[path])
    assert params.experiment == RETINA
    assert params.trainer.train_steps == 5


def test_later_layers_win(write):
    files = [
        write("trainer: {train_steps: 1, steps_per_loop: 1}", "a.yaml"),
        write("trainer: {train_steps: 2, summary_interval: 2}", "b.yaml"),
    ]
    trainer = load_experiment(FASTER, files, ["trainer.summary_interval=3"]).trainer
    found = trainer.train_steps, trainer.steps_per_loop, trainer.summary_interval
    assert found == (2, 1, 3)


def test_an_experiment_is_not_changed_for_the_next(write):
    load_experiment(FASTER, overrides=["task.model.anchor.aspect_ratios=[1.0]"])
    assert get_experiment(FASTER).task.model.anchor.aspect_ratios == [0.5, 1.0, 2.0]


def test_no_name_at_all(write):
    with pytest.raises(UserError, match="name an experiment"):
        load_experiment(None, [write("trainer: {train_steps: 1}")])


def test_a_file_for_another_experiment(write):
    path = write(f"experiment: {RETINA}")
    with pytest.raises(UserError, match=f"{path} is for experiment {RETINA}, not for"):
        load_experiment(FASTER, [path])
    other = write(f"experiment: {FASTER}", "y.yaml")
    with pytest.raises(UserError, match=f"{path} is for experiment {RETINA}, not for"):
        load_experiment(None, [path, other])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "cannot be read as YAML"),
        ("\tx: 1", "cannot be read as YAML"),
        ("a: 1\n  b: 2", "cannot be read as YAML"),
        ("!!python/object/apply:os.getcwd []", "cannot be read as YAML"),
        ("", "is not a YAML mapping"),
        ("- task", "is not a YAML mapping"),
    ],
)
def test_bad_yaml_is_one_line_with_the_file(write, text, message):
    path = write(text)
    with pytest.raises(UserError) as error:
        read_yaml(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "image").write_bytes(b"\xff\xd8\xff\xe0")
    for path in (tmp_path, tmp_path / "none.yaml", tmp_path / "image"):
        with pytest.raises(UserError, match=f"{path}: cannot be read as YAML"):
            read_yaml(str(path))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"trainer": {"train_step": 1}},
            "trainer.train_step; did you mean trainer.tra",
        ),
        ({"tasks": {}}, "there is no setting tasks; did you mean task?"),
        (
            {"task": {"model": {"neck": {"kind": "none"}}}},
            "there is no setting task.model.neck.kind",
        ),
        (
            {"trainer": {"optimizer_config": {"optimizer": {"sgdd": {}}}}},
            "did you mean trainer.optimizer_config.optimizer.sgd?",
        ),
        ({3: 4}, "there is no setting 3"),
    ],
)
def test_an_unknown_key_tells_the_nearest(values, message):
    with pytest.raises(UserError) as error:
        override(get_experiment(FASTER), values, "my.yaml")
    assert str(error.value).startswith("my.yaml: there is no setting")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "trainer.train_steps=2020-01-01",
            "trainer.train_steps is datetime.date(2020, ",
        ),
        (
            "task.class_names=[a, 2020-01-01]",
            "task.class_names is datetime.date(2020, ",
        ),
        ("trainer={train_steps: !!binary aGk=}", "trainer.train_steps is b'hi', which"),
        (
            "task.class_names=!!set {a}",
            "task.class_names is {'a'}, which YAML takes for",
        ),
    ],
)
def test_values_that_no_setting_has(text, message):
    with pytest.raises(UserError) as error:
        override(get_experiment(FASTER), parse_override(text), f"--set {text}")
    assert str(error.value).startswith(f"--set {text}: {message}")
    assert str(error.value).endswith("; put it in quotes if it is a text")


def test_an_unknown_key_changes_nothing():
    params = get_experiment(FASTER)
    values = {"trainer": {"train_steps": 1, "typo": 2}}
    with pytest.raises(UserError):
        override(params, values, "x")
    assert params.trainer.train_steps != 1


def test_a_kind_of_optimizer_that_is_not_chosen_can_be_set():
    params = get_experiment(FASTER)
    text = "trainer.optimizer_config.optimizer.adamw.weight_decay_rate=0.5"
    override(params, parse_override(text), "x")
    assert params.trainer.optimizer_config.optimizer.adamw.weight_decay_rate == 0.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b.c=4", {"a": {"b": {"c": 4}}}),
        ("a=[1, 2]", {"a": [1, 2]}),
        ("a=b=c", {"a": "b=c"}),
        ("a={x: true}", {"a": {"x": True}}),
        (" a.b = x", {"a": {"b": "x"}}),
        ("a=", {"a": None}),
    ],
)
def test_override_as_text(text, expected):
    assert parse_override(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.b", "--set a.b: write it as key.of.setting=value"),
        ("=4", "--set =4: write it as key.of.setting=value"),
        ("a=[1", r"--set a=\[1: the value is not YAML"),
    ],
)
def test_override_that_is_none(text, message):
    with pytest.raises(UserError, match=message):
        parse_override(text)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_comes_back_as_it_was_written(tmp_path, name):
    settings = [
        "trainer.train_steps=3",
        "task.class_names=[background, 'yes']",
        "task.model.input_size=[64, 96, 3]",
    ]
    params = load_experiment(name, overrides=settings)
    (tmp_path / "params.yaml").write_text(dump_params(params))
    again = load_run(str(tmp_path))
    assert type(again) is type(params)
    assert again.as_dict() == params.as_dict()
    assert again.task.class_names == ["background", "yes"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("task.model.head.num_filters", float("nan")),
        ("task.model.num_classes", -4),
        ("task.class_names", 5),
        ("task.model.backbone.type", "zzz"),
    ],
)
def test_a_run_whose_settings_were_changed_by_hand(tmp_path, path, value):
    params = load_experiment("libra_retinanet_resnetfpn_coco")
    values = yaml.safe_load(dump_params(params))
    section = values
    *keys, last = path.split(".")
    for key in keys:
        section = section[key]
    section[last] = value
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(UserError) as error:
        load_run(str(tmp_path))
    assert str(error.value).startswith(f"{file}: ")
    assert path in str(error.value)


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path}: no params.yaml here"):
        load_run(str(tmp_path))


def test_a_run_of_model_garden(tmp_path):
    (tmp_path / "params.yaml").write_text("task: {}\n")
    with pytest.raises(UserError, match="was not written by libra_tf"):
        load_run(str(tmp_path))


def test_a_run_of_an_experiment_that_is_gone(tmp_path):
    (tmp_path / "params.yaml").write_text("experiment: libra_old\n")
    with pytest.raises(UserError, match="no experiment is called 'libra_old'"):
        load_run(str(tmp_path))
