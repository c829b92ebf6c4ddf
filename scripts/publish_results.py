"""Keeps the results of an ablation: results/PLAN.csv and .md, and the pages' tables.

    python scripts/publish_results.py OUT [OUT ...]

OUT is the folder of a `libra ablate`. Without one, the tables are made again from the
files in results/.
"""

from __future__ import annotations

import sys
from pathlib import Path

from libra_tf.ablation.plan_reader import load_plan
from libra_tf.ablation.readme import (
    read_results,
    replace_table,
    tables,
    without_paths,
)
from libra_tf.ablation.run_results import CSV_FILE
from libra_tf.ablation.tables import format_table
from libra_tf.ablation.timing import TIMING_FILE, read_timing_file
from libra_tf.errors import UserError

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
# Pages with tables between marks, see `replace_table`.
PAGES = (ROOT / "README.md", ROOT / "docs" / "results.md")


def keep(out: Path) -> None:
    """Copies the figures of an ablation to results/, without paths."""
    source = out / CSV_FILE
    if not source.is_file():
        raise UserError(f"{source}: no such file; give the --out of `libra ablate`")
    text = without_paths(source.read_text(encoding="utf-8"))
    name = read_results(source)[0]["plan"]
    (RESULTS / f"{name}.csv").write_text(text, encoding="utf-8")
    timing = out / TIMING_FILE
    if timing.is_file():
        kept = RESULTS / "timing" / f"{name}.csv"
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(timing.read_text(encoding="utf-8"), encoding="utf-8")


def render() -> dict[Path, str]:
    """Returns what the tables should be, by file."""
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    for path in sorted(RESULTS.glob("*.csv")):
        plan, results = load_plan(path.stem), read_results(path)
        timing = read_timing_file(RESULTS / "timing" / path.name)
        texts[path.with_suffix(".md")] = format_table(
            plan, results[0]["scale"], results, timing
        )
        for name, table in tables(plan, results, timing).items():
            for page in PAGES:
                if f"<!-- results: {name} -->" in texts[page]:
                    texts[page] = replace_table(texts[page], name, table)
    return texts


def main(folders: list[str]) -> int:
    """See the module."""
    try:
        for folder in folders:
            keep(Path(folder))
        for path, text in render().items():
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(ROOT))
    except UserError as error:
        print(f"publish_results: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
