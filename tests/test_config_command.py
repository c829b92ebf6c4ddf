"""`libra config`: list, show, check, and how files are found."""

import json
from pathlib import Path

import pytest
import yaml

from libra_tf.commands.main import main
from libra_tf.errors import UserError
from libra_tf.experiments import files
from libra_tf.experiments.saved import load_experiment

FASTER = "libra_fasterrcnn_resnetfpn_coco"
RETINA = "libra_retinanet_resnetfpn_coco"
CARL_OF_HUBER = [
    "--set", "task.losses.carl.weight=0.2", "--set", "task.losses.box.type=huber"
]  # fmt: skip


def call(capsys, *words):
    """Runs the command; returns exit code, stdout and stderr."""
    capsys.readouterr()
    code = main(["config", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_names_are_paths_below_configs():
    found = files.config_files()
    assert found["quickstart/libra_fasterrcnn"].endswith(
        "configs/quickstart/libra_fasterrcnn.yaml"
    )
    assert list(found) == sorted(found)


def test_files_of_an_installed_package_go_first(tmp_path, monkeypatch):
    package = tmp_path / "libra_tf"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "beside.yaml").write_text("")
    package.mkdir()
    monkeypatch.setattr(files.importlib.resources, "files", lambda name: package)
    assert list(files.config_files()) == ["beside"]
    (package / "configs" / "deep").mkdir(parents=True)
    (package / "configs" / "deep" / "inside.yaml").write_text("")
    assert list(files.config_files()) == ["deep/inside"]


@pytest.mark.parametrize(
    "name",
    [
        "bccd/tfm_retinanet",
        "bccd/tfm_retinanet.yaml",
        "configs/bccd/tfm_retinanet.yaml",
    ],
)
def test_a_shipped_file_is_found_by_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert files.find_config(name) == files.config_files()["bccd/tfm_retinanet"]


def test_a_file_of_the_user_goes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bccd").mkdir()
    (tmp_path / "bccd" / "tfm_retinanet.yaml").write_text("x: 1\n")
    mine = "bccd/tfm_retinanet.yaml"
    assert files.find_config(mine) == mine


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("bccd/tfm_retinanett", "bccd/tfm_retinanet"),
        ("libra_maskrcnn", "quickstart/libra_maskrcnn"),
        ("table1/retinanet_r50_1x", "libra/table1/retinanet_r50_1x"),
        ("k3", "libra/table4/k3"),
        ("xyzzy", "libra config list"),
    ],
)
def test_an_unknown_name_tells_the_nearest(name, near):
    with pytest.raises(UserError, match=near) as error:
        files.find_config(name)
    assert str(error.value).startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ("# A detector.\n# Expected: 1\n", "A detector."),
        ("\n# Later.\na: 1\n", "Later."),
        ("a: 1  # no\n# no\n", ""),
        ("", ""),
    ],
)
def test_head(tmp_path, text, head):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    assert files.read_head(str(path)) == head


def test_head_of_a_file_that_is_no_text(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(UserError, match=r"a\.yaml: cannot be read"):
        files.read_head(str(tmp_path / "a.yaml"))


def test_list(capsys):
    code, out, _ = call(capsys, "list")
    assert code == 0
    lines = [line.split(maxsplit=1) for line in out.splitlines()]
    assert ["experiments:"] in lines
    assert [FASTER, "Libra Faster R-CNN on COCO."] in lines
    head = files.read_head(files.find_config("quickstart/libra_retinanet"))
    assert ["quickstart/libra_retinanet", head] in lines


def test_list_as_json(capsys):
    code, out, _ = call(capsys, "list", "--json")
    assert code == 0
    content = json.loads(out)
    assert set(content) == {"experiments", "files"}
    assert RETINA in content["experiments"]
    assert {n: f["path"] for n, f in content["files"].items()} == files.config_files()
    assert all(entry["head"] for entry in content["files"].values())


def test_show_an_experiment_with_overrides(capsys):
    words = ["--experiment", RETINA, "--set", "task.model.neck.type=none"]
    code, out, _ = call(capsys, "show", *words, "--set", "trainer.train_steps=7")
    assert code == 0
    shown = yaml.safe_load(out)
    wanted = load_experiment(RETINA).as_dict()
    wanted["task"]["model"]["neck"]["type"] = "none"
    wanted["trainer"]["train_steps"] = 7
    assert shown == wanted


def test_a_setting_of_one_detector_is_explained_with_its_value(capsys):
    field = "task.model.roi_sampler.num_bins"
    code, out, _ = call(capsys, "show", field, "--set", f"{field}=5")
    assert code == 0
    assert out.startswith(f"{field}: 5\n")


def test_a_wrong_value_of_one_detector_is_told_and_not_that_others_lack_it(capsys):
    field = "task.losses.classification.ghm.num_bins"
    code, out, err = call(capsys, "show", field, "--set", f"{field}=0")
    assert (code, out) == (2, "")
    assert f"{field} is 0" in err


def test_show_only_what_differs(capsys):
    words = ["--set", "task.losses.box.beta=0.2", "--set", "trainer.train_steps=90000"]
    _, _, whole = call(capsys, "show", "--experiment", RETINA, "--diff")
    assert whole == ""
    code, out, _ = call(capsys, "show", "--experiment", RETINA, "--diff", *words)
    assert code == 0
    lines = out.splitlines()
    assert "task.losses.box.beta: 0.2  # 0.11" in lines
    assert any(x.startswith("trainer.train_steps: 90000  # ") for x in lines)
    found = yaml.safe_load(out)
    assert found["task.losses.box.beta"] == 0.2
    assert len(lines) == 2


def test_show_later_files_win(capsys, tmp_path):
    (tmp_path / "mine.yaml").write_text("trainer: {train_steps: 5}\n")
    words = ["--config", "quickstart/libra_retinanet", "--config"]
    code, out, _ = call(capsys, "show", *words, tmp_path / "mine.yaml")
    assert code == 0
    shown = yaml.safe_load(out)
    assert shown["trainer"]["train_steps"] == 5
    assert shown["trainer"]["validation_interval"] == 300
    assert shown["experiment"] == RETINA


def test_show_with_data_fills_in_what_follows(capsys, records):
    code, out, _ = call(capsys, "show", "--experiment", FASTER, "--data", records)
    assert code == 0
    task = yaml.safe_load(out)["task"]
    assert task["dataset"] == records
    assert task["model"]["num_classes"] == 4
    assert task["class_names"][0] == "background"
    assert task["train_data"]["input_path"].startswith(records)


def test_show_an_experiment_of_model_garden(capsys):
    code, out, _ = call(capsys, "show", "--experiment", "retinanet_resnetfpn_coco")
    assert code == 0
    assert yaml.safe_load(out)["task"]["model"]["num_classes"] == 91


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--experiment", "libra_retinanet"], RETINA),
        (["--config", "quickstart/libra_retinane"], "quickstart/libra_retinanet"),
        ([], "name an experiment"),
        (["--experiment", FASTER, "--set", "task.modle.x=1"], "task.model"),
        (["--experiment", FASTER, "--data", "/nowhere"], r"no dataset.json"),
        (
            ["--experiment", FASTER, "--set", "task.losses.box.alpha=0"],
            "box.alpha is 0",
        ),
        (["task.losses.box.alpha", "--set", "task.losses.box.alpha=0"], "alpha is 0"),
        (
            ["--experiment", FASTER, *CARL_OF_HUBER],
            "CARL",
        ),
        (["--experiment", "retinanet_resnetfpn_coco", "--data", "x"], "task.dataset"),
    ],
)
def test_show_mistakes_are_one_line(capsys, words, message):
    code, out, err = call(capsys, "show", *words)
    assert code == 2
    assert out == ""
    assert err.startswith("libra: error: ")
    assert message in err
    assert err.count("\n") == 1


def test_check_good_files(capsys, records):
    names = ["quickstart/libra_retinanet", "libra/table2/1_baseline"]
    for data in ([], ["--data", records]):
        code, out, _ = call(capsys, "check", *names, *data)
        assert code == 0
        # What limits cost on the data is told below a file.
        assert [x for x in out.splitlines() if not x.startswith("  ")] == [
            f"{names[0]}: good ({RETINA})",
            f"{names[1]}: good ({FASTER})",
        ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("task: {modle: 1}", "did you mean task.model"),
        ("task: 5", "task is 5; it must be of type mapping"),
        ("task: null", "task is None; it must be of type mapping"),
        ("task: {model: 5}", "task.model is 5; it must be of type mapping"),
        ("task: {train_data: 3}", "task.train_data is 3; it must be of type mapping"),
        ("task: {model: {neck: {type: bfp}}}", "task.model.neck.type is 'bfp'"),
        ("task: {init_checkpoint: null}", "task.init_checkpoint is empty"),
        ("task: {dataset: /nowhere}", "no dataset.json in /nowhere"),
        ("trainer: {summary_interval: 3}", "trainer.summary_interval is 3"),
        ("- 1", "as YAML"),
    ],
)
def test_check_says_what_is_wrong_and_goes_on(capsys, tmp_path, body, message):
    bad = tmp_path / "bad.yaml"
    bad.write_text(f"experiment: {FASTER}\n{body}\n")
    code, out, _ = call(capsys, "check", bad, "quickstart/libra_retinanet")
    assert code == 1
    first, second = out.splitlines()
    assert first.startswith(f"{bad}: ")
    assert message in first
    assert second == f"quickstart/libra_retinanet: good ({RETINA})"


def test_check_needs_masks_only_with_data(capsys, tmp_path, records):
    source = files.find_config("quickstart/libra_maskrcnn")
    assert call(capsys, "check", source, "--data", records)[0] == 0
    content = json.loads(Path(records, "dataset.json").read_text())
    for split in content["splits"].values():
        split["masks"] = False
        split["tfrecords"] = f"{records}/{split['tfrecords']}"
        split["annotations"] = f"{records}/{split['annotations']}"
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    code, out, _ = call(capsys, "check", source, "--data", tmp_path)
    assert code == 1
    assert "without masks" in out
    assert call(capsys, "check", source)[0] == 0


def test_show_explains_a_setting_of_any_detector(capsys):
    code, out, _ = call(
        capsys, "show", "task.model.roi_sampler.num_bins", "task.losses.classification"
    )
    assert code == 0
    assert out.startswith("task.model.roi_sampler.num_bins: 3\n  IoU bins of the")
    assert "\ntask.losses.classification.ghm.momentum: 0.75\n" in out


def test_show_explains_with_the_values_of_an_experiment(capsys):
    beta = "task.losses.box.beta"
    code, out, _ = call(
        capsys, "show", beta, "--experiment", RETINA, "--set", f"{beta}=0.5"
    )
    assert code == 0
    assert out.startswith(f"{beta}: 0.5\n")


def test_show_of_what_there_is_not(capsys):
    code, _, err = call(capsys, "show", "task.losses.bux")
    assert code == 2
    assert "there is no setting task.losses.bux" in err


def test_docs_are_written(capsys, tmp_path):
    path = tmp_path / "docs" / "settings.md"
    assert call(capsys, "docs", "--out", path)[0] == 0
    code, out, _ = call(capsys, "docs")
    assert code == 0
    assert out == path.read_text()
    assert out.startswith("# Settings\n")
