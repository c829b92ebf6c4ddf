"""Writes the rule book of the readers into docs/data.md, between its two marks.

    python scripts/rule_book.py

`libra_tf.data.rules.RULES` and `libra_tf.data.faults.REFUSED` are the source; a test
sees that the page has them.
"""

from __future__ import annotations

from pathlib import Path

from libra_tf.data.faults import REFUSED
from libra_tf.data.rules import RULES

PAGE = Path(__file__).parents[1] / "docs" / "data.md"
BEGIN, END = "<!-- rule book -->\n", "<!-- end of the rule book -->\n"


def tables() -> str:
    """Returns both tables in Markdown."""
    lines = ["| input | what happens | what is said, after the count | `--strict` |"]
    lines.append("|---|---|---|---|")
    for rule in RULES.values():
        strict = "refused" if rule.strict else "the same"
        lines.append(f"| {rule.input} | {rule.done} | {rule.said(2)} | {strict} |")
    lines += ["", "| input | refused; the line says |", "|---|---|"]
    for refusal in REFUSED.values():
        lines.append(f"| {refusal.input} | … {refusal.text} … |")
    return "\n".join(lines) + "\n"


def page_with_tables(text: str) -> str:
    """Returns the page with the tables as they should be."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{tables()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(page_with_tables(PAGE.read_text(encoding="utf-8")), "utf-8")
