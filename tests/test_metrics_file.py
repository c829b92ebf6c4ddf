"""metrics.jsonl of a run, whatever has been written into it."""

import json

import pytest

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
