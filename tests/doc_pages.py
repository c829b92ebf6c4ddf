"""The pages of the repository, and the blocks of code that stand in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])

_BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        page: name of the page, from the root.
        language: what follows the fence: sh, python, diff.
        marks: `key=value` after the language, such as needs=gpu or file=a.py.
        text: what stands in it.
    """

    page: str
    language: str
    marks: dict[str, str]
    text: str

    @property
    def needs(self) -> list[str]:
        """What a test does not have; empty if a test runs the block."""
        return self.marks["needs"].split(",") if "needs" in self.marks else []

    @property
    def commands(self) -> list[list[str]]:
        """The command lines of an sh block, as words; `&&` parts two of them."""
        lines = self.text.replace("\\\n", " ").replace("&&", "\n").splitlines()
        words = [shlex.split(line, comments=True) for line in lines]
        return [line for line in words if line]


def blocks(page: Path) -> list[Block]:
    """Returns the blocks of a page in their order."""
    name = page.relative_to(ROOT).as_posix()
    return [
        Block(name, language, dict(mark.split("=") for mark in marks.split()), text)
        for language, marks, text in _BLOCK.findall(page.read_text(encoding="utf-8"))
    ]


def all_blocks(language: str) -> list[Block]:
    """Returns the blocks of one language of all pages."""
    found = [block for page in PAGES for block in blocks(page)]
    return [block for block in found if block.language == language]
