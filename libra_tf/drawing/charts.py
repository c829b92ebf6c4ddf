"""Charts of one look, by Matplotlib: as SVG in a page, or as files."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from libra_tf.drawing.image_files import data_uri
from libra_tf.errors import UserError, shown_name
from libra_tf.files.json_files import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

# Of Okabe and Ito: told apart by colour-blind people too.
COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000",
    "#8C564B",
)  # fmt: skip
LONGEST_LABEL = 40  # characters
LINES = ("-", "--", "-.", ":")
KINDS = (".png", ".svg")
DOTS_PER_INCH = 160  # of PNG
_STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "grid.color": "#e3e5e8",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "libra_tf",  # equal charts are equal files
}


@contextlib.contextmanager
def charts(
    width: float, height: float, columns: int = 1, rows: int = 1
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Gives an empty figure and its axes, row by row; it is closed after.

    Args:
        width: inches.
        height: inches.
        columns: charts side by side.
        rows: charts below each other.

    Raises:
        UserError: Matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            f"charts need Matplotlib ({error}): pip install matplotlib"
        ) from error
    with matplotlib.rc_context(_STYLE):
        # Without pyplot: nothing looks for a screen, and nothing stays open.
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False)
        yield figure, list(axes.flat)


def draw_line(
    axes: Axes, number: int, x: ArrayLike, y: ArrayLike, name: str, marker: str = ""
) -> None:
    """Draws the n-th line of a chart, in colour and dashes of which no two of 32 equal.

    Args:
        axes: of the chart.
        number: n, from 0.
        x: [N].
        y: [N].
        name: of the legend; text, which may hold what Matplotlib takes for a formula.
        marker: of each point; "" for none.
    """
    axes.plot(
        x,
        y,
        color=COLORS[number % len(COLORS)],
        linestyle=LINES[number // len(COLORS) % len(LINES)],
        marker=marker,
        markersize=3,
        label=label_text(name),
    )


def add_legend(axes: Axes, place: str = "best") -> None:
    """Adds the names of what is drawn, if anything is."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc=place)


def label_text(name: str, longest: int = LONGEST_LABEL) -> str:
    """Returns a name of strangers as Matplotlib shows it: no formula, not hidden."""
    shown = shown_name(name)
    if len(shown) > longest:
        shown = f"{shown[: longest - 3]}..."
    shown = shown.replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def svg_uri(figure: Figure) -> str:
    """Returns a chart as a `data:` URI."""
    return data_uri("image/svg+xml", _saved(figure, "svg"))


def save_chart(figure: Figure, path: str | Path) -> list[Path]:
    """Writes a chart as PNG and as SVG, or as the one that the ending names.

    Args:
        figure: the chart.
        path: with the ending .png or .svg, or without one for both.

    Returns:
        The files.
    """
    path = check_path(path)
    kinds = [path.suffix] if path.suffix else list(KINDS)
    files = [
        path.with_name(path.name + ("" if path.suffix else kind)) for kind in kinds
    ]
    for file, kind in zip(files, kinds, strict=True):
        write_file(file, _saved(figure, kind.removeprefix(".")))
    return files


def check_path(path: str | Path) -> Path:
    """Returns the path of a chart.

    Raises:
        UserError: it has another ending than .png and .svg.
    """
    path = Path(path)
    if path.suffix and path.suffix not in KINDS:
        raise UserError(
            f"--out {path}: a chart is written as {' or '.join(KINDS)}; without an "
            "ending, as both"
        )
    if path.is_dir():
        raise UserError(f"--out {path} is a folder; give the name of a file")
    return path


def _saved(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    # Without the date, which would make each file another.
    metadata = {"Date": None} if kind == "svg" else {}
    figure.savefig(buffer, format=kind, dpi=DOTS_PER_INCH, metadata=metadata)
    return buffer.getvalue()
