"""`libra ablate`: what it lists and shows, what it refuses, and a small ablation."""

import csv
import json
import time
import types

import pytest
import tiny
import yaml
from tolerances import ELEMENTWISE, tolerance

from libra_tf.ablation import children
from libra_tf.commands.ablate import parse_seeds
from libra_tf.commands.main import main
from libra_tf.errors import UserError

TINY = {
    "task": {
        "model": {
            "input_size": [64, 64, 3],
            "backbone": {"resnet": {"model_id": 10, "depth_multiplier": 0.25}},
            "decoder": {"fpn": {"num_filters": 16}},
            "head": {"num_convs": 1, "num_filters": 16},
        },
        "train_data": {"global_batch_size": 4},
    },
    "runtime": {"enable_xla": False},
    "trainer": {
        "checkpoint_interval": 2,
        "steps_per_loop": 2,
        "summary_interval": 2,
        "eval_tf_function": False,  # its graph takes longer than two images
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    shapes, out = str(folder / "shapes"), str(folder / "tfr")
    words = ["--train", "8", "--val", "2", "--size", "64"]
    assert main(["data", "synthesize", shapes, *words]) == 0
    assert main(["data", "convert", shapes, "--out", out, "--workers", "1"]) == 0
    return out


@pytest.fixture
def plan(tmp_path):
    """Two rows of RetinaNet; the second has no neck."""
    row = {"config": "libra/table1/libra_retinanet_r50_1x", "two_core": TINY}
    rows = [
        {**row, "name": "libra", "baseline": True, "published": {"AP": 37.8}},
        {**row, "name": "plain", "set": {"task.model.neck.type": "none"}},
    ]
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"title": "Small", "rows": rows}))
    return str(path)


def ablate(capsys, *words):
    code = main(["ablate", *map(str, words)])
    return code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("text", "seeds"), [("1", [1]), ("3", [1, 2, 3]), ("7,2", [7, 2]), ("0,1", [0, 1])]
)
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["0", "99999999999", "-1", "x", "1,1", "1,-2", ""])
def test_wrong_seeds(text):
    with pytest.raises(UserError, match="--seeds"):
        parse_seeds(text)


def test_list(capsys):
    code, out, _ = ablate(capsys, "--list")
    assert code == 0
    assert "libra_table2: Components of Libra R-CNN\n" in out
    assert "  1_baseline (baseline)\n" in out
    assert "  4_balanced_l1 (against 1_baseline)\n" in out
    code, out, _ = ablate(capsys, "--list", "--json")
    assert json.loads(out)["libra_table2"]["rows"][0] == "1_baseline"


def test_dry_run_runs_nothing(capsys, plan, data, tmp_path):
    out = tmp_path / "out"
    words = [plan, "--data", data, "--out", out, "--scale", "two_core", "--seeds", "2"]
    code, text, _ = ablate(capsys, *words, "--dry-run")
    assert code == 0
    titles = [x for x in text.splitlines() if x.startswith("#")]
    names = ["libra seed 1", "plain seed 1", "libra seed 2", "plain seed 2"]
    assert titles == [f"# {name}: to run" for name in names]
    assert "libra train --config libra/table1/libra_retinanet_r50_1x --config" in text
    assert not out.exists()
    code, text, _ = ablate(capsys, *words, "--dry-run", "--json", "--rows", "plain")
    assert code == 0
    assert [entry["row"] for entry in json.loads(text)] == ["plain", "plain"]
    assert json.loads(text)[0]["state"] == "to run"


def test_the_former_name_of_a_flag(capsys, plan, data, tmp_path):
    words = [plan, "--data", data, "--out", tmp_path / "out", "--dry-run"]
    for scale in ("coco", "two_core"):
        texts = [
            ablate(capsys, *words, flag, scale)[:2] for flag in ("--scale", "--form")
        ]
        assert texts[0] == texts[1]
        assert texts[0][0] == 0
    assert ablate(capsys, *words, "--scale", "coco")[1] == ablate(capsys, *words)[1]
    with pytest.raises(SystemExit):
        main(["ablate", "--help"])
    assert "--form" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give PLAN"),
        (["libra_table2"], "give --data"),
        (["libra_table2", "--data", "x"], "give --out"),
        (["libra_table3", "--data", "x", "--out", "y"], "libra_table3: no such file"),
        (["libra_table2", "--data", "x", "--out", "y", "--jobs", "0"], "--jobs is 0"),
        (["libra_table2", "--data", "x", "--out", "y", "--rows", "z"], "no row 'z'"),
        (["libra_table2", "--data", "x", "--out", "y", "--rows", ""], "no row ''"),
        (["libra_table2", "--data", "x", "--out", "y", "--set", "a=1"], "setting a"),
        (["libra_table2", "--data", "x", "--out", "y", "--set", "a"], "--set a: write"),
    ],
)
def test_mistakes_are_one_line(capsys, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = ablate(capsys, *words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_ablation(capsys, plan, data, tmp_path, monkeypatch):
    """Two rows at a time; stopped by Ctrl-C; gone on with; refused; made again.

    Losses and metrics of a run that was made twice are equal to the last bit.
    """
    out = tmp_path / "out"
    words = [plan, "--data", data, "--out", out, "--scale", "two_core", "--jobs", "2"]
    words += ["--set", "trainer.train_steps=4"]

    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # The first look at the children is when Ctrl-C comes. Not time.sleep itself:
        # subprocess uses that too.
        clock = types.SimpleNamespace(monotonic=time.monotonic, sleep=interrupt)
        patch.setattr(children, "time", clock)
        patch.setattr(children, "_GRACE_SECONDS", 1.0)
        assert ablate(capsys, *words)[0] == 130
    _, text, _ = ablate(capsys, *words, "--dry-run")
    assert text.count("to resume") == 2
    code, text, _ = ablate(capsys, *words, "--json")
    assert code == 0
    found = json.loads(text)
    assert found["failed"] == []
    assert [r["row"] for r in found["results"]] == ["libra", "plain"]
    with open(out / "results.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    thresholds = {f"AP{percent}" for percent in range(50, 100, 5)}
    assert thresholds <= lines[0].keys()
    assert float(lines[0]["peak_memory_mb"]) > 300
    mean = sum(float(lines[0][name]) for name in thresholds) / 10
    assert float(lines[0]["AP"]) == pytest.approx(mean, abs=tolerance(ELEMENTWISE))
    table = (out / "table.md").read_text()
    assert "| libra | (baseline) | - | - | - | - | 37.8 |" in table
    assert "| plain | libra | 1 |" in table
    code, _, err = ablate(capsys, *words, "--set", "task.losses.box.alpha=0.4")
    assert code == 2
    assert "task.losses.box.alpha = 0.5, not 0.4" in err
    words[words.index(out)] = tmp_path / "again"
    assert ablate(capsys, *words, "--rows", "libra")[0] == 0
    first, second = numbers_of(out), numbers_of(tmp_path / "again")
    assert first == second
    assert [line["kind"] for line in first] == ["train"] * 2 + ["validation"]


def numbers_of(out):
    """What the run of the row `libra` gave, without times."""
    path = out / "runs" / "libra" / "seed1" / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        for name in tiny.MEASURED:
            line.pop(name, None)
    return lines
