"""metrics.jsonl of a run, whatever has been written into it."""

import json

import pytest

from libra_tf.training.later_steps import cut_later_steps
from libra_tf.training.metrics_file import cut_metrics, last_evaluation, metric_lines

GOOD = {"kind": "validation", "step": 4, "AP": 0.5}


@pytest.mark.parametrize("line", ['{"step": 4}', "[" * 200_000, "[]", "\x00", "{"])
def test_lines_that_are_none(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{line}\n")
    assert last_evaluation(str(tmp_path), 4) == {"AP": 0.5}
    assert last_evaluation(str(tmp_path), 3) is None
    cut_metrics(str(tmp_path), 4)
    assert next(metric_lines(str(tmp_path))) == GOOD


def write(folder, *lines):
    (folder / "metrics.jsonl").write_bytes(b"".join(lines))
    return folder / "metrics.jsonl"


def line(step):
    return json.dumps({"kind": "train", "step": step}).encode() + b"\n"


def test_lines_that_are_no_json_are_told_apart_from_later_steps(tmp_path):
    garbage = [b"\xff\xfe\x00\n", b"{} garbage\n"]
    path = write(tmp_path, line(2), *garbage, line(4), line(6), b'{"kind": "tr')
    before = path.read_bytes()
    assert list(cut_later_steps(str(tmp_path), [], 4)) == [
        "metrics.jsonl: 1 line of steps after 4 was taken out; these steps come again",
        "metrics.jsonl: its last line, which a kill had cut off, was taken out",
        "metrics.jsonl: 2 lines are no JSON with a step and left out; 2 lines kept; "
        "the file as it was is damaged/metrics.jsonl",
    ]
    assert path.read_bytes() == line(2) + line(4)
    assert (tmp_path / "damaged" / "metrics.jsonl").read_bytes() == before
    assert not list(cut_later_steps(str(tmp_path), [], 4))
    path.write_bytes(garbage[0])
    (last,) = cut_later_steps(str(tmp_path), [], 4)
    assert last.endswith("damaged/metrics.jsonl.2")
    assert (tmp_path / "damaged" / "metrics.jsonl").read_bytes() == before


def test_the_next_line_does_not_go_on_with_the_last(tmp_path):
    """A kill between a line and the sign that ends it."""
    path = write(tmp_path, line(2), line(4)[:-1])
    assert not list(cut_later_steps(str(tmp_path), [], 4))
    assert path.read_bytes() == line(2) + line(4)
    assert not (tmp_path / "damaged").exists()
