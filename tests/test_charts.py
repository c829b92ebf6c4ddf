"""Charts as files and in pages."""

import base64
import sys
from xml.etree import ElementTree

import pytest
from PIL import Image

from libra_tf.drawing.charts import (
    charts,
    check_path,
    draw_line,
    label_text,
    save_chart,
    svg_uri,
)
from libra_tf.errors import UserError


def one_chart(path=None):
    with charts(3, 2) as (figure, (axes,)):
        draw_line(axes, 0, [0, 1], [0, 1], "a line")
        axes.set_xlabel("step")
        return save_chart(figure, path) if path else svg_uri(figure)


def test_a_chart_is_written_as_both_kinds_or_as_one(tmp_path):
    files = one_chart(tmp_path / "new" / "chart")
    assert [f.name for f in files] == ["chart.png", "chart.svg"]
    assert Image.open(files[0]).size == (480, 320)  # inches times 160
    assert ElementTree.parse(files[1]).getroot().tag.endswith("svg")
    assert [f.name for f in one_chart(tmp_path / "one.svg")] == ["one.svg"]


def test_equal_charts_are_equal_files(tmp_path):
    first, second = one_chart(tmp_path / "a"), one_chart(tmp_path / "b")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_a_chart_of_a_page_needs_no_file():
    kind, text = one_chart().split(",")
    assert kind == "data:image/svg+xml;base64"
    root = ElementTree.fromstring(base64.b64decode(text))
    assert root.tag.endswith("svg")


@pytest.mark.parametrize(
    ("name", "line"),
    [("a.jpg", "is written as .png or .svg"), ("folder", "is a folder")],
)
def test_a_path_that_is_no_chart_is_refused(tmp_path, name, line):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=line):
        check_path(tmp_path / name)


def test_no_two_of_32_lines_look_alike():
    with charts(3, 2) as (_, (axes,)):
        for number in range(32):
            draw_line(axes, number, [0, 1], [0, 1], str(number))
        looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(looks) == 32


def test_names_are_shown_as_they_are():
    assert label_text("cost $x$") == r"cost \$x\$"
    assert label_text("_hidden") == " _hidden"
    assert label_text("x" * 50) == "x" * 37 + "..."
    assert "\x1b" not in label_text("\x1b[2J")


def test_without_matplotlib_a_line_tells(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match="pip install matplotlib"), charts(1, 1):
        pass
