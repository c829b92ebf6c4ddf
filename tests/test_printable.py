"""files.printable: no name acts on the terminal, or ends a command."""

import io
import json

import pytest
import small_sets

from libra_tf.commands.main import main
from libra_tf.files.printable import SafeStream, printable
from libra_tf.files.progress_line import ProgressLine

# Clears the screen, half a surrogate pair, a second line, text from right to left.
EVIL = "cat\x1b[2J\udce9\nlibra: done\u202e"
SHOWN = r"cat\x1b[2J\udce9\nlibra: done\u202e"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größe 7 µm", "größe 7 µm"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("a\\nb", "a\\nb"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b2J\x7f", r"\x9b2J\x7f"),
        (EVIL, SHOWN),
    ],
)
def test_signs_stay_and_all_else_becomes_escapes(text, shown):
    assert printable(text) == shown


class Terminal(io.StringIO):
    """Looks like a terminal."""

    encoding = "ascii"

    def isatty(self):
        return True


def test_a_safe_stream_keeps_lines_and_progress():
    terminal = Terminal()
    stream = SafeStream(terminal)
    print("one\ttwo\nthree\x1b[2J", file=stream)
    print("\r7 images", end="", file=stream)
    print("ü", file=stream)
    assert terminal.getvalue() == "one\ttwo\nthree\\x1b[2J\n\r7 images\\xfc\n"


def test_a_line_of_progress_renews_itself():
    terminal = Terminal()
    progress = ProgressLine("train", 1, SafeStream(terminal))
    progress.step()
    progress.finish()
    assert terminal.getvalue().startswith("\rtrain: 1/1 images")
    assert terminal.getvalue().endswith("\x1b[K\n")


def convert(folder, content, *words):
    path = small_sets.write(folder, content)
    source = ["--images", folder, "--annotations", path, "--split", "train"]
    words = [*source, "--out", folder / "out", "--workers", 1, *words]
    return main(["data", "convert", *map(str, words)])


def test_names_of_classes_are_escaped_in_info(tmp_path, capsys):
    content = small_sets.coco(tmp_path)
    content["categories"][0]["name"] = EVIL
    content["categories"].append({"id": 3, "name": f"{EVIL} 2"})
    assert convert(tmp_path, content) == 0
    assert f"(classes {SHOWN} 2)" in capsys.readouterr().err
    assert main(["data", "info", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert f"  {SHOWN} 3, dog 3, {SHOWN} 2 0\n" in out


def test_names_of_files_are_escaped_in_errors(tmp_path, capsys):
    content = small_sets.coco(tmp_path)
    content["images"][0]["file_name"] = "no\x1b[2J\nlibra: done.png"
    content["images"][1]["file_name"] = "no\udce9.png"
    assert convert(tmp_path, content) == 2
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert "\nlibra: done" not in err
    assert r"no\udce9.png" in err


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ([], "findings"),
        ({"areas": 3}, "findings.areas"),
        ({"areas": {"count": "3", "first": []}}, "findings.areas"),
        ({"areas": {"count": 3}}, "findings.areas"),
        ({"areas": {"count": 3, "first": {}}}, "findings.areas"),
    ],
)
def test_odd_findings_are_one_line(tmp_path, capsys, entry, field):
    assert convert(tmp_path, small_sets.coco(tmp_path)) == 0
    path = tmp_path / "out" / "dataset.json"
    content = json.loads(path.read_text())
    content["splits"]["train"]["findings"] = entry or 3
    path.write_text(json.dumps(content))
    capsys.readouterr()
    assert main(["data", "info", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"{path}: splits.train: " in err
    assert field in err or entry == []


@pytest.mark.parametrize("content", [[1], {"1.png": 3}, {"1.png": None}, "x"])
def test_odd_hashes_are_one_line(tmp_path, capsys, content):
    assert convert(tmp_path, small_sets.coco(tmp_path)) == 0
    path = tmp_path / "out" / "train.hashes.json"
    path.write_text(json.dumps(content))
    capsys.readouterr()
    data = small_sets.coco(tmp_path)
    assert convert(tmp_path, data, "--split", "val") == 2
    err = capsys.readouterr().err
    assert f"libra: error: {path}: " in err
    assert err.count("\n") == 1
