"""`index.html` beside pictures of predictions."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from libra_tf.drawing import page
from libra_tf.drawing.palette import class_color
from libra_tf.files.json_files import write_file

INDEX = "index.html"
_TRUTH = ("ground truth", (120, 120, 120), True)


@dataclass(frozen=True)
class Shown:
    """A picture of the gallery.

    Attributes:
        file: its name, in the folder of the page.
        source: the image that it was drawn on.
        classes: category id of each detection that is drawn.
    """

    file: str
    source: str
    classes: Sequence[int]


def write_gallery(
    folder: str,
    pictures: Sequence[Shown],
    class_names: Mapping[int, str],
    threshold: float,
    show_truth: bool = False,
) -> Path:
    """Writes a page with all pictures, what is on each, and the colours of the classes.

    Args:
        folder: of the pictures.
        pictures: in the order of the page.
        class_names: category id to name.
        threshold: lowest score that is drawn.
        show_truth: the pictures have dashes for the ground truth.

    Returns:
        The page's path.
    """
    seen = sorted({c for shown in pictures for c in shown.classes})
    names = {c: class_names.get(c, str(c)) for c in seen}
    entries = [(names[c], class_color(c), False) for c in seen]
    count = sum(len(shown.classes) for shown in pictures)
    figures = "\n".join(
        page.picture(quote(p.file), _caption(p, names), quote(p.file)) for p in pictures
    )
    parts = [
        f'<p class="how">{len(pictures)} images, {count} detections with score '
        f"&ge; {threshold}. A click opens a picture in full size; lines lie outside of "
        "the boxes.</p>",
        page.key([*entries, *([_TRUTH] if show_truth else [])]),
        f'<div class="pictures">\n{figures}\n</div>',
    ]
    path = Path(folder, INDEX)
    write_file(path, page.page("Predictions", parts).encode("utf-8", "replace"))
    return path


def _caption(shown: Shown, names: Mapping[int, str]) -> str:
    counts = collections.Counter(names[c] for c in shown.classes)
    found = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    return f"{shown.source}: {found or 'nothing found'}"
