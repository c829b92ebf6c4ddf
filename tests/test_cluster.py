"""training.cluster: who is who, and what processes say (see test_workers)."""

from __future__ import annotations

import io
import json
import threading

import numpy as np
import pytest
import tensorflow as tf

from libra_tf.errors import LostWorker, UserError
from libra_tf.training.cluster import (
    STRATEGY,
    Cluster,
    Place,
    named_lost_workers,
    read_place,
)
from libra_tf.training.failed_step import FailedStep, merged, pack
from libra_tf.training.stop import StopOnSignal

TWO = {"worker": ["a:1", "b:1"]}


def place(monkeypatch, value, strategy=STRATEGY):
    text = value if isinstance(value, str) else json.dumps(value)
    monkeypatch.setenv("TF_CONFIG", text)
    return read_place(strategy)


def test_without_other_processes(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert read_place("mirrored") == Place(0, 1)
    assert place(monkeypatch, "  ", "mirrored") == Place(0, 1)
    assert place(monkeypatch, {"cluster": {}}, "mirrored") == Place(0, 1)
    alone = {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}
    assert place(monkeypatch, alone, "mirrored") == Place(0, 1)


def test_places_of_a_cluster(monkeypatch):
    task = {"type": "worker", "index": 1}
    assert place(monkeypatch, {"cluster": TWO, "task": task}) == Place(1, 2)
    jobs = {"chief": ["c:1"], **TWO}
    assert place(monkeypatch, {"cluster": jobs, "task": task}) == Place(2, 3)
    chief = place(monkeypatch, {"cluster": jobs, "task": {"type": "chief", "index": 0}})
    assert chief == Place(0, 3)
    assert chief.is_chief


@pytest.mark.parametrize(
    ("value", "strategy", "words"),
    [
        ("{", STRATEGY, "cannot be read"),
        ("[1]", STRATEGY, "cannot be read"),
        ({"cluster": {"worker": "a:1"}}, STRATEGY, "no list of hosts"),
        ({"cluster": TWO, "task": {"index": "x"}}, STRATEGY, "cannot be read"),
        ({"cluster": TWO, "task": {"type": "worker", "index": 2}}, STRATEGY, "index 2"),
        (
            {"cluster": TWO, "task": {"type": "worker", "index": -1}},
            STRATEGY,
            "index -1",
        ),
        ({"cluster": TWO, "task": {"type": "chief", "index": 0}}, STRATEGY, "are 0"),
        ({"cluster": TWO, "task": {"type": "evaluator", "index": 0}}, STRATEGY, "eval"),
        ({"cluster": TWO, "task": {"type": "ps", "index": 0}}, STRATEGY, "'ps'"),
        (
            {"cluster": TWO, "task": {"type": "worker", "index": 0}},
            "mirrored",
            f"set it to {STRATEGY}",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(monkeypatch, value, strategy, words):
    with pytest.raises(UserError, match=words) as caught:
        place(monkeypatch, value, strategy)
    assert "TF_CONFIG" in str(caught.value)


class Ring:
    """Exchanges among threads as a gathering among processes does."""

    def __init__(self, count):
        self._said = [None] * count
        self._barrier = threading.Barrier(count)

    def cluster(self, index):
        cluster = Cluster()
        cluster.place = Place(index, len(self._said))
        cluster.exchange = lambda data: self.exchange(index, data)
        return cluster

    def exchange(self, index, data):
        self._said[index] = data
        self._barrier.wait(10)
        said = list(self._said)
        self._barrier.wait(10)
        return said


def in_threads(count, action):
    """Calls `action(cluster)` for each process; returns results, or errors."""
    ring, results = Ring(count), [None] * count

    def work(index):
        try:
            results[index] = action(ring.cluster(index))
        except UserError as error:
            results[index] = str(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


def test_a_refusal_of_one_is_one_of_all():
    def action(cluster):
        with cluster.together():
            if cluster.place.index == 1:
                raise UserError("no disk")
        return "goes on"

    assert in_threads(3, action) == [
        "worker 1: no disk",
        "no disk",
        "worker 1: no disk",
    ]

    def fine(cluster):
        with cluster.together():
            pass
        return "goes on"

    assert in_threads(2, fine) == ["goes on"] * 2


def test_the_value_of_the_chief_counts():
    def action(cluster):
        return cluster.from_chief({"step": cluster.place.index, "path": None})

    assert in_threads(2, action) == [{"step": 0, "path": None}] * 2
    assert Cluster().from_chief((1, 2)) == (1, 2)


def test_a_signal_to_one_is_one_to_all():
    def action(cluster):
        stop = StopOnSignal(io.StringIO(), cluster.exchange)
        before = stop.is_agreed()
        if cluster.place.index == 1:
            stop._request(15)
        return before, stop.is_agreed(), stop.is_requested(), stop.terminated

    assert in_threads(2, action) == [(False, True, True, True)] * 2


def test_a_failed_step_has_the_batches_of_all():
    first = FailedStep(3, gradients=["a"], batches={0: {"images": np.ones((2, 2))}})
    second = FailedStep(3, gradients=["a", "b"], batches={1: {"x.y": np.arange(3)}})
    whole = merged([pack(first), b"", pack(second)])
    assert whole.step == 3
    assert whole.gradients == ["a", "b"]
    assert whole.batches.keys() == {0, 1}
    np.testing.assert_array_equal(whole.batches[0]["images"], np.ones((2, 2)))
    np.testing.assert_array_equal(whole.batches[1]["x.y"], np.arange(3))
    assert pack(None) == b""
    assert merged([b"", b""]) is None


def test_a_lost_process_is_a_line():
    gone = tf.errors.UnavailableError(None, None, "connection reset")
    aborted = tf.errors.InternalError(None, None, "Collective ops is aborted by: ...")
    match = "worker 1 of 2 lost another"
    for error in (gone, aborted):
        with pytest.raises(LostWorker, match=match) as caught, lost_by_one():
            raise error
        assert caught.value.exit_code == 75
    with pytest.raises(tf.errors.UnavailableError), named_lost_workers(Place()):
        raise gone
    other = tf.errors.InvalidArgumentError(None, None, "shapes")
    with pytest.raises(tf.errors.InvalidArgumentError), lost_by_one():
        raise other


def lost_by_one():
    return named_lost_workers(Place(1, 2))
