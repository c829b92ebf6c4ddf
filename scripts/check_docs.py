"""Checks the pages: every link and path leads somewhere, every figure has a source.

    python scripts/check_docs.py

Prints what is wrong, one line each; the exit code is 1 if anything is.

- A link or picture names a file of the repository, and a #place a heading of it.
- A path in backquotes that begins with a folder of the repository exists.
- A decimal number, a percentage or a count with its unit ("900 steps", "60 held-out
  pictures") of the README and of docs/results.md occurs in a page of results/ (not only
  in a table of raw numbers, which have any figure by chance), or in the table of a
  comment that opens with `figures not of results/`. Other whole numbers are not seen.

Commands are the business of tests/test_docs_commands.py.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FIGURE_PAGES = ("README.md", "docs/results.md")
FOLDERS = ("configs", "docs", "libra_tf", "results", "scripts", "tests")

_FENCE = re.compile(r"^```.*?^```\s*?$", re.DOTALL | re.MULTILINE)
_INDENTED = re.compile(r"(?:^|\n)(?:    .*(?:\n|$))+")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_PATH = re.compile(rf"(?:{'|'.join(FOLDERS)})/[\w*./-]*")
# A decimal such as 56.5, .073 and 2006.09238, not 0.1.0; or a number before "%".
_FIGURE = re.compile(r"(?<![\w.])(?:\d*\.\d+(?![\w.]*\w)|\d+(?= ?%))(?: ?%)?")
# A whole number, at most one word, and a unit; not the 10 of 28:10 minutes.
_COUNT = re.compile(
    r"(?<![\w.,:/-])(\d+)(?:\s+[a-z-]+)?\s+(hour|image|minute|picture|second|step)s?\b"
)
_ELSEWHERE = re.compile(r"<!-- figures not of results/\n(.*?)-->", re.DOTALL)


def pages(root: Path = ROOT) -> list[Path]:
    """Returns the pages that are checked."""
    return sorted([*root.glob("*.md"), *root.glob("docs/*.md")])


def problems(root: Path = ROOT) -> list[str]:
    """Returns what is wrong in the pages of a repository, one line each."""
    found = []
    for page in pages(root):
        text, name = page.read_text(encoding="utf-8"), str(page.relative_to(root))
        wrong = [*_dead_links(page, text), *_dead_paths(root, text)]
        if name in FIGURE_PAGES:
            wrong += _unknown_figures(root, text)
        found += [f"{name}: {line}" for line in wrong]
    return found


def anchors(text: str) -> set[str]:
    """Returns the places of a page as GitHub names them, from its headings."""
    places: dict[str, int] = {}
    found = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        words = re.sub(r"\]\([^)]*\)", "", heading)
        place = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        number = places[place] = places.get(place, -1) + 1
        found.add(f"{place}-{number}" if number else place)
    return found


def _prose(text: str) -> str:
    """The page without comments and without blocks of code."""
    return _INDENTED.sub("\n", _FENCE.sub("", _COMMENT.sub("", text)))


def _dead_links(page: Path, text: str) -> Iterator[str]:
    for link in _LINK.findall(_CODE.sub(r"\1", _prose(text))):
        if re.match(r"\w+:", link):  # of the network, which no test asks
            continue
        path, _, place = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists():
            yield f"link to {link}: there is no such file"
        elif place and place not in anchors(target.read_text(encoding="utf-8")):
            yield f"link to {link}: there is no such heading"


def _dead_paths(root: Path, text: str) -> Iterator[str]:
    for code in _CODE.findall(_prose(text)):
        if _PATH.fullmatch(code) and not any(root.glob(code.rstrip("/"))):
            yield f"`{code}`: there is no such file"


def _unknown_figures(root: Path, text: str) -> Iterator[str]:
    listed = _listed_elsewhere(text)
    pages_of_results = sorted((root / "results").rglob("*.md"))
    texts = (path.read_text(encoding="utf-8") for path in pages_of_results)
    known = set().union(*map(figures, texts), listed)
    prose = re.sub(r"\]\([^)\s]+\)", "]", _prose(text))
    used = figures(_CODE.sub("", prose))
    for figure in sorted(used - known):
        yield f"{figure}: no page of results/ has this figure, and no source is listed"
    for figure in sorted(listed - used):
        yield f"{figure}: listed with a source, but the page does not use it"


def figures(text: str) -> set[str]:
    """Returns decimals and percentages without sign, and counts as "900 steps"."""
    numbers = {figure.replace(" ", "") for figure in _FIGURE.findall(text)}
    return numbers | {f"{count} {unit}s" for count, unit in _COUNT.findall(text)}


def _listed_elsewhere(text: str) -> set[str]:
    """The figures that the page's comment lists together with a source."""
    lines = [line for table in _ELSEWHERE.findall(text) for line in table.splitlines()]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
    listed = [figures(figure) or {figure} for figure, source in rows if source]
    return set().union(*listed)


def main() -> int:
    """See the module."""
    found = problems()
    print("\n".join(found) or f"{len(pages())} pages are good")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
