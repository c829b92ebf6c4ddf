"""results/: the tables are those of the CSV files, and the README's figures too."""

import csv
import re
from pathlib import Path

import pytest

from libra_tf.ablation.plan_reader import load_plan
from libra_tf.ablation.statistics import paired_difference, summarize
from libra_tf.ablation.tables import format_table, group, metric

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "results").glob("*.csv"))
_TEXTS = ("plan", "form", "row", "commit", "date", "command", "cpu", "cores")


def read(path):
    """The results as the ablation had them."""
    with open(path, encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    results = []
    for line in lines:
        numbers = {k: float(v) for k, v in line.items() if v and k not in _TEXTS}
        result = {**line, "seed": int(line["seed"]), "steps": int(line["steps"])}
        result["peak_memory_mb"] = numbers["peak_memory_mb"]
        results.append({**result, "metrics": numbers, "mechanism": numbers})
    return results


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_table_follows_from_the_runs(path):
    results = read(path)
    text = format_table(load_plan(path.stem), results[0]["form"], results, {})
    assert path.with_suffix(".md").read_text(encoding="utf-8") == text


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_commands_can_be_repeated_elsewhere(path):
    for result in read(path):
        assert " /" not in result["command"]


def test_figures_of_the_readme():
    by_row = group(read(ROOT / "results" / "libra_vs_model_garden.csv"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for row, name in {
        "fasterrcnn_model_garden": "Model Garden Faster R-CNN",
        "fasterrcnn_libra": "Libra Faster R-CNN",
        "retinanet_model_garden": "Model Garden RetinaNet",
        "retinanet_libra": "Libra RetinaNet",
    }.items():
        cells = re.search(rf"^\| {name} \|(.*)\|$", readme, re.MULTILINE).group(1)
        cells = [cell.strip(" *") for cell in cells.split("|")]
        means = [
            summarize(list(metric(by_row[row], key).values())).mean
            for key in ("AP", "AP75", "AR@100")
        ]
        expected = ["" if mean is None else f"{mean:.1f}" for mean in means]
        assert cells[:4] == [str(len(by_row[row])), *expected]
        if not row.endswith("libra"):
            continue
        base = by_row[row.replace("libra", "model_garden")]
        for cell, key in zip(cells[4:], ("AP", "AP75"), strict=True):
            found = paired_difference(metric(by_row[row], key), metric(base, key))
            assert cell.startswith(f"{found.mean:+.2f} ± {found.error:.2f}")
