"""scripts/check_docs.py: the pages are good, and a bad page is seen."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_BYTES = 10_000

_SPEC = importlib.util.spec_from_file_location(
    "check_docs", ROOT / "scripts" / "check_docs.py"
)
check_docs = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(check_docs)

GOOD = """# A title

## Two words, and `code`

[here](#two-words-and-code) [there](docs/page.md#a-b) [net](https://x.org/y.md)
`docs/page.md` and `docs/*.md`. AP 56.5 and +3.47, 31.0 %, p .073, version 0.1.0.
900 steps on 60 held-out pictures in 28 minutes, or 5 of them.

<!-- figures not of results/
| figure | from |
|---|---|
| .073 | the paper |
| 28 minutes | a clock |
-->
"""


@pytest.fixture
def root(tmp_path):
    for folder in ("docs", "results/timing"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "docs/page.md").write_text("# A B\n")
    (tmp_path / "results/timing/plan.csv").write_text("load_average\n56.6\n")
    (tmp_path / "results/plan.md").write_text(
        "| 56.5 | +3.47 ± 0.1 | 31.0% |\n\n900 steps, 60\npictures, 28:10 minutes\n"
    )
    (tmp_path / "README.md").write_text(GOOD)
    return tmp_path


def test_the_pages_of_this_repository():
    assert check_docs.problems() == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) < MOST_BYTES


def test_the_readme_links_every_page():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in check_docs.pages():
        assert page.name == "README.md" or f"]({page.relative_to(ROOT)})" in readme


def test_a_good_page(root):
    assert check_docs.problems(root) == []


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("docs/page.md#", "docs/pages.md#", "link to docs/pages.md#a-b: there is no"),
        ("#a-b", "#a-c", "link to docs/page.md#a-c: there is no such heading"),
        ("(#two", "(#three", "link to #three-words-and-code: there is no such"),
        ("`docs/page.md`", "`docs/gone.md`", "`docs/gone.md`: there is no such file"),
        ("`docs/*.md`", "`docs/*.rst`", "`docs/*.rst`: there is no such file"),
        ("56.5", "56.6", "56.6: no page of results/ has this figure"),
        ("31.0 %", "31 %", "31%: no page of results/ has this figure"),
        ("p .073", "p .072", ".072: no page of results/ has this figure"),
        ("900 steps", "800 steps", "800 steps: no page of results/ has this figure"),
        ("60 held-out", "61 held-out", "61 pictures: no page of results/ has this"),
        ("28 minutes, or", "10 minutes, or", "10 minutes: no page of results/ has"),
        ("the paper", "", ".073: no page of results/ has this figure"),
        (", p .073", "", ".073: listed with a source, but the page does not use it"),
    ],
)
def test_a_bad_page(root, before, after, line):
    assert before in GOOD
    (root / "README.md").write_text(GOOD.replace(before, after, 1))
    assert any(line in found for found in check_docs.problems(root))


def test_blocks_and_other_pages_may_have_any_figure(root):
    (root / "README.md").write_text(GOOD + "\n```sh\nx --beta 0.99\n```\n\n    0.98\n")
    (root / "docs/page.md").write_text("# A B\n\n0.97\n")
    assert check_docs.problems(root) == []


def test_places_as_github_names_them():
    text = "# A `b` (c), d-e\n## A [link](x.md)\n```\n# no\n```\n# Twice\n# Twice\n"
    assert check_docs.anchors(text) == {"a-b-c-d-e", "a-link", "twice", "twice-1"}


def test_the_script_tells(monkeypatch, capsys):
    monkeypatch.setattr(check_docs, "problems", list)
    assert check_docs.main() == 0
    monkeypatch.setattr(check_docs, "problems", lambda: ["a.md: is bad"])
    assert check_docs.main() == 1
    assert capsys.readouterr().out.endswith("a.md: is bad\n")
