"""`libra plot`: what is drawn is what the files and the losses say."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from libra_tf.ablation import statistics
from libra_tf.commands.main import main
from libra_tf.drawing import charts
from libra_tf.losses import balanced_l1
from libra_tf.plots import ablation_bars, learning
from libra_tf.plots.box_losses import box_losses, value_and_gradient

TABLE = Path(__file__).parents[1] / "results" / "libra_table2.csv"


@pytest.fixture
def drawn(monkeypatch):
    """The axes of the charts that were drawn."""
    seen = []
    saved = charts.save_chart

    def save(figure, path):
        seen.extend(figure.axes)
        return saved(figure, path)

    for module in (learning, ablation_bars):
        monkeypatch.setattr(module, "save_chart", save)
    return seen


@pytest.fixture
def runs(tmp_path):
    """Two runs, the second with an evaluation less, a NaN and a line that is cut."""
    for name, evaluations in (("plain", (20, 40)), ("libra", (40,))):
        lines = [
            {"kind": "train", "step": s, "total_loss": 1 / s} for s in range(10, 50, 10)
        ]
        lines += [{"kind": "validation", "step": s, "AP": s / 100} for s in evaluations]
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "metrics.jsonl").write_text(text + '{"kind": "tr')
    return [str(tmp_path / "runs" / name) for name in ("plain", "libra")]


def test_learning_curves(runs, tmp_path, drawn):
    out = tmp_path / "curves"
    assert main(["plot", "runs", *runs, "--out", str(out)]) == 0
    assert Image.open(f"{out}.png").width > 1000
    assert Path(f"{out}.svg").read_text().count("<svg") == 1
    loss, ap = drawn
    assert loss.get_xlabel() == ap.get_xlabel() == "training step"
    assert (loss.get_ylabel(), ap.get_ylabel()) == ("total loss", "AP")
    assert [line.get_label() for line in loss.lines] == ["plain", "libra"]
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [0.1, 0.05, 1 / 30, 0.025])
    assert list(ap.lines[0].get_xdata()) == [20, 40]
    assert list(ap.lines[1].get_ydata()) == [0.4]


def test_names_tell_runs_apart(tmp_path):
    runs = [str(tmp_path / a / "seed1") for a in ("x", "y")]
    assert learning.short_names(runs) == ["x/seed1", "y/seed1"]
    assert learning.short_names([str(tmp_path / "one")]) == ["one"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["runs", "nowhere", "--out", "a"], "nowhere: there is no metrics.jsonl here"),
        (["runs", "empty", "--out", "a"], "metrics.jsonl: has no metrics yet"),
        (["runs", "RUN", "--metric", "APx", "--out", "a"], "no run has it; there are"),
        (["runs", "RUN", "--out", "a.jpg"], "is written as .png or .svg"),
        (["ablation", "no.csv", "--out", "a"], "no.csv: cannot be read"),
        (["ablation", "bad.csv", "--out", "a"], "bad.csv: is not a results.csv"),
        (["ablation", "none.csv", "--out", "a"], "none.csv: has no results yet"),
        (["ablation", str(TABLE), "--metric", "APx", "--out", "a"], "no row has 'APx'"),
    ],
)
def test_bad_input_is_one_line(runs, tmp_path, monkeypatch, capsys, words, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "metrics.jsonl").write_text("")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    (tmp_path / "none.csv").write_text("plan,scale,row,seed\n")
    words = [runs[0] if word == "RUN" else word for word in words]
    assert main(["plot", *words]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert line in error
    assert not list(tmp_path.glob("a*g"))


def test_the_bars_are_the_means_of_the_table(tmp_path, drawn):
    out = tmp_path / "bars.svg"
    assert main(["plot", "ablation", str(TABLE), "--out", str(out)]) == 0
    (axes,) = drawn
    rows = {}
    for line in TABLE.read_text().splitlines()[1:]:
        _, _, row, _, ap, *_ = line.split(",")
        rows.setdefault(row, []).append(100 * float(ap))
    means = [statistics.summarize(values).mean for values in rows.values()]
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], means)
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == [f"{row} (n={len(v)})" for row, v in rows.items()]
    assert "AP, per cent" in axes.get_xlabel()
    (spread,) = axes.containers[1].lines[2]
    (left, _), (right, _) = spread.get_segments()[0]
    first = statistics.summarize(next(iter(rows.values())))
    assert (right - left) / 2 == pytest.approx(first.deviation)


def test_losses_and_gradients(tmp_path):
    assert main(["plot", "losses", "--out", str(tmp_path / "losses.svg")]) == 0
    text = (tmp_path / "losses.svg").read_text()
    assert "balanced L1, alpha 0.5" in re.sub(r"&#x?\w+;", " ", text)
    errors = np.array([0.25, 0.75, 1.5], np.float32)
    named = {n: value_and_gradient(loss, errors) for n, loss in box_losses().items()}
    value, gradient = named["balanced L1, alpha 0.5"]
    np.testing.assert_allclose(value, balanced_l1(np.zeros(3, np.float32), errors))
    # Equation 9: alpha ln(b |x| + 1) below 1, gamma above.
    expected = [0.5 * np.log((np.e**3 - 1) * x + 1) for x in (0.25, 0.75)] + [1.5]
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)
    np.testing.assert_allclose(named["smooth L1"][1], [0.25, 0.75, 1])
    np.testing.assert_allclose(named["L1"][1], [1, 1, 1])
    asl1 = errors / np.sqrt(errors**2 + 0.02**2)
    name = "GHM-R, before it is weighed"
    np.testing.assert_allclose(named[name][1], asl1, rtol=1e-5)
    np.testing.assert_allclose(
        named[name][0], np.sqrt(errors**2 + 0.02**2) - 0.02, rtol=1e-4
    )
