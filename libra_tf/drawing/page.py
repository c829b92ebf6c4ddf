"""A page of HTML that needs nothing but itself: no script, no network."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from libra_tf.errors import printable

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 15px/1.45 system-ui, sans-serif; color: #202124; background: #fff;
  margin: 0 auto; padding: 24px 28px 60px; max-width: 1680px; }
h1 { font-size: 26px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 40px 0 4px; padding-top: 12px;
  border-top: 1px solid #dadce0; }
h3 { font-size: 15px; margin: 18px 0 6px; }
p { margin: 4px 0 12px; max-width: 95ch; overflow-wrap: anywhere; }
.how { color: #5f6368; }
nav { margin: 14px 0 0; line-height: 2; }
nav a { margin-right: 16px; white-space: nowrap; }
a { color: #1a56c4; }
.wide { overflow: auto; max-height: 560px; }
table { border-collapse: collapse; margin: 6px 0 14px; font-size: 14px; }
th, td { padding: 4px 10px; text-align: right; border-bottom: 1px solid #e8eaed;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
th { color: #5f6368; font-weight: 600; position: sticky; top: 0; background: #fff; }
th:first-child, td:first-child { text-align: left; max-width: 56ch; overflow: hidden;
  text-overflow: ellipsis; }
tbody tr:hover { background: #f6f8fc; }
.charts { display: flex; flex-wrap: wrap; gap: 8px 28px; align-items: flex-start; }
.charts img { max-width: 100%; height: auto; }
.pictures { display: grid; gap: 18px;
  grid-template-columns: repeat(auto-fill, minmax(min(420px, 100%), 1fr)); }
.small.pictures {
  grid-template-columns: repeat(auto-fill, minmax(min(240px, 100%), 1fr)); }
figure { margin: 0; min-width: 0; }
figure img { width: 100%; height: auto; display: block; background: #eee; }
figcaption { font-size: 13px; margin-top: 4px; overflow-wrap: anywhere; }
.key { display: inline-flex; align-items: center; margin: 0 16px 4px 0; }
.swatch { width: 18px; height: 12px; margin-right: 6px; border: 1px solid #555; }
.swatch.dashed { height: 0; border: 0; border-top: 3px dashed; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """Returns a whole page; `parts` are HTML, the title is text."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{text(title)}</h1>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def text(value: object) -> str:
    """Returns text of strangers as HTML that shows it as it is."""
    return html.escape(printable(str(value)))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns a table; the first column is of names, the others of figures."""
    cells = "".join(f"<th>{text(name)}</th>" for name in head)
    lines = "\n".join(
        "<tr>" + "".join(f"<td>{text(value)}</td>" for value in row) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide"><table>\n<thead><tr>{cells}</tr></thead>\n'
        f"<tbody>\n{lines}\n</tbody></table></div>"
    )


def picture(source: str, caption: str, link: str = "") -> str:
    """Returns a picture with a caption.

    Args:
        source: its address, of a file or `data:`.
        caption: text.
        link: address of what a click opens; "" for nothing.
    """
    shown = f'<img loading="lazy" src="{html.escape(source)}" alt="{text(caption)}">'
    if link:
        shown = f'<a href="{html.escape(link)}">{shown}</a>'
    return f"<figure>{shown}<figcaption>{text(caption)}</figcaption></figure>"


def key(entries: Iterable[tuple[str, tuple[int, int, int], bool]]) -> str:
    """Returns what the colours mean: (text, colour, whether the line is dashed)."""
    spans = []
    for name, (red, green, blue), dashed in entries:
        color = f"rgb({red},{green},{blue})"
        if dashed:
            swatch = f'<span class="swatch dashed" style="border-color:{color}"></span>'
        else:
            swatch = f'<span class="swatch" style="background:{color}"></span>'
        spans.append(f'<span class="key">{swatch}{text(name)}</span>')
    return f"<p>{''.join(spans)}</p>"
