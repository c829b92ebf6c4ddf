"""results/: tables and pages follow from the runs; how they are kept."""

import csv
import importlib.util
import io
import shutil
from pathlib import Path

import pytest

from libra_tf.ablation.plan_reader import load_plan
from libra_tf.ablation.readme import (
    read_results,
    readme_table,
    replace_table,
    tables,
    without_paths,
)
from libra_tf.errors import UserError

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "results").glob("*.csv"))
PLAN = "libra_vs_model_garden"


@pytest.fixture
def script():
    path = ROOT / "scripts" / "publish_results.py"
    spec = importlib.util.spec_from_file_location("publish_results", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_table_is_what_its_runs_give(script):
    texts = script.render()
    assert len(texts) == len(script.PAGES) + len(FILES)
    for path, text in texts.items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: publish it again"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_plan_has_its_table_in_the_page_of_results(path):
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    plan, results = load_plan(path.stem), read_results(path)
    for name, table in tables(plan, results, {}).items():
        rows = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
        assert not rows or f"<!-- results: {name} -->" in page
        assert all(f"| {row} |" in page for row in rows)


def test_the_readme_has_one_table():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.count("<!-- results: ") == 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_commands_can_be_repeated_elsewhere(path):
    for result in read_results(path):
        assert " /" not in result["command"]
        assert result["command"].startswith("libra train --config")


def test_paths_are_left_out():
    text = (
        "row,command\n"
        'a,"libra train --set x=1 --data /home/me/cells --seed 1 --out '
        '/home/me/out/runs/a/seed1"\n'
    )
    line = next(csv.DictReader(io.StringIO(without_paths(text))))
    assert line["command"] == (
        "libra train --set x=1 --data cells --seed 1 --out RUNS/a/seed1"
    )
    with pytest.raises(UserError, match="no results"):
        without_paths("row,command\n")


def test_a_short_table():
    plan = load_plan(PLAN)

    def run(row, seed, ap):
        return {"row": row, "seed": seed, "metrics": {"AP": ap, "AP75": ap / 2}}

    base, libra = "fasterrcnn_model_garden", "fasterrcnn_libra"
    results = [run(base, 1, 0.5), run(libra, 1, 0.53), run(base, 2, 0.4)]
    results.append(run(libra, 2, 0.41))
    timing = {libra: {"ratio": "1.25"}}
    lines = readme_table(plan, plan.rows, results, timing).splitlines()
    assert lines[2:] == [
        f"| {base} | 2 | 45.0 ± 7.1 | 22.5 ± 3.5 | - | - | - | - |",
        f"| {libra} | 2 | 47.0 ± 8.5 | 23.5 ± 4.2 | +2.00 ± 1.00 (p .295, Holm "
        ".295) | - | +1.00 ± 0.50 (p .295, Holm .295) | 1.25 |",
    ]


def test_steps_are_against_the_row_above():
    plan = load_plan("libra_table2")
    names = [row.name for row in plan.rows]
    results = [
        {"row": row, "seed": seed, "metrics": {"AP": ap, "AP75": ap}}
        for seed in (1, 2)
        for row, ap in zip(names, (0.3, 0.4, 0.35, 0.35 + seed / 100), strict=True)
    ]
    short = tables(plan, results, {})["libra_table2, step by step"].splitlines()
    assert [line.split("|")[1:4] for line in short[2:]] == [
        [f" {names[1]} ", f" {names[0]} ", " +10.00 "],
        [f" {names[2]} ", f" {names[1]} ", " -5.00 "],
        [f" {names[3]} ", f" {names[2]} ", " +1.50 ± 0.50 (p .205, Holm .205) "],
    ]


def test_a_table_takes_the_place_of_the_last():
    readme = "a\n<!-- results: p, g -->\n\nold\n<!-- end of results -->\nb\n"
    found = replace_table(readme, "p, g", "| \\1 |")
    assert "old" not in found
    assert replace_table(found, "p, g", "new").count("new") == 1
    assert found.startswith("a\n")
    assert found.endswith("b\n")
    with pytest.raises(UserError, match="results: q"):
        replace_table(readme, "q", "")


def test_keeping_an_ablation(script, tmp_path, monkeypatch, capsys):
    shutil.copy(ROOT / "results" / f"{PLAN}.csv", tmp_path / "results.csv")
    monkeypatch.setattr(script, "RESULTS", tmp_path / "kept")
    (tmp_path / "kept").mkdir()
    script.keep(tmp_path)
    kept = read_results(tmp_path / "kept" / f"{PLAN}.csv")
    assert len(kept) == len(read_results(ROOT / "results" / f"{PLAN}.csv"))
    assert script.main([str(tmp_path / "nothing")]) == 2
    assert "no such file" in capsys.readouterr().err
