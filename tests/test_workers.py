"""Several processes that train one detector: real ones, on this machine."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
import tiny
from workers import Workers

from libra_tf.experiments.saved import dump_params
from libra_tf.training.runner import run

STEPS = 20


def experiment(records, kind="retinanet", **trainer):
    """Each step sees all four images, in whatever order."""
    params = tiny.experiment(f"libra_{kind}_resnetfpn_coco")
    data = {"parser": {"aug_rand_hflip": False, "aug_scale_min": 1.0}}
    data |= {"shuffle_buffer_size": 1, "global_batch_size": 4}
    data["parser"]["aug_scale_max"] = 1.0
    task = {"dataset": records, "train_data": data}
    task["model"] = {"num_classes": 0, "norm_activation": {"use_sync_bn": True}}
    task["validation_data"] = {"global_batch_size": 2}
    params.override({"task": task, "runtime": {"deterministic": True}})
    params.override({"trainer": {"steps_per_loop": 1, "summary_interval": 1}})
    params.override({"trainer": {"train_steps": STEPS, "checkpoint_interval": 4}})
    params.override({"trainer": {"validation_interval": STEPS // 2, **trainer}})
    # In large steps a difference in the last bit grows tenfold every few of them.
    rates = {"stepwise": {"values": [0.0005, 0.0005, 0.0005]}}
    warmup = {"linear": {"warmup_learning_rate": 0.0005}}
    optimizer = {"learning_rate": rates, "warmup": warmup}
    params.override({"trainer": {"optimizer_config": optimizer}})
    return params


def words_for(params, folder, out):
    params.override({"runtime": {"distribution_strategy": "multi_worker_mirrored"}})
    file = folder / "experiment.yaml"
    file.write_text(dump_params(params))
    return ["--config", str(file), "--out", str(out)]


def lines(folder, kind):
    found = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    found = [line for line in found if line.pop("kind") == kind]
    return [{k: v for k, v in line.items() if k not in tiny.MEASURED} for line in found]


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Four images to train on, and three to divide among two."""
    return tiny.dataset(tmp_path_factory.mktemp("few"), num_train=4, num_val=3)


@pytest.fixture(scope="module")
def two(few, tmp_path_factory):
    """A training of two processes that nothing has happened to."""
    folder = tmp_path_factory.mktemp("two")
    out = folder / "out"
    workers = Workers(words_for(experiment(few), folder, out), 2, folder)
    assert workers.codes() == [0, 0], [workers.said(i) for i in range(2)]
    return out, workers


@pytest.mark.slow
def test_two_processes_are_one_with_the_whole_batch(few, two, tmp_path):
    run(experiment(few), "train_and_eval", str(tmp_path / "one"), stream=None)
    one, both = lines(tmp_path / "one", "train"), lines(two[0], "train")
    assert [line["step"] for line in both] == list(range(1, STEPS + 1))
    for alone, together in zip(one, both, strict=True):
        assert alone.keys() == together.keys()
        for name in alone:
            np.testing.assert_allclose(
                together[name],
                alone[name],
                rtol=1e-5,
                err_msg=f"{name} {alone['step']}",
            )
    before, after = lines(tmp_path / "one", "validation"), lines(two[0], "validation")
    assert [line["num_images_evaluated"] for line in after] == [3, 3]
    assert [line["num_images_missing"] for line in after] == [0, 0]
    for alone, together in zip(before, after, strict=True):
        assert together["AP"] == pytest.approx(alone["AP"], abs=0.02)
        # Batches of two and one image, in one process; here of one each and one.
        assert together["validation_loss"] > 0


@pytest.mark.slow
def test_the_chief_alone_writes_and_speaks(two):
    out, workers = two
    assert "validation at step 20" in workers.said(0)
    assert "step" not in workers.said(1)
    assert {p.name for p in out.glob("ckpt-*.index")} >= {
        "ckpt-16.index",
        "ckpt-20.index",
    }
    assert (out / "best_ckpt" / "info.json").is_file()
    assert not list(out.glob("*.tmp*"))


@pytest.mark.slow
def test_what_is_stopped_and_killed_goes_on(few, two, tmp_path):
    """SIGTERM to the one that is not the chief, then kill -9 to it."""
    out = tmp_path / "out"
    words = words_for(experiment(few), tmp_path, out)
    workers = Workers(words, 2, tmp_path)
    workers.wait_for("step  2/20")
    workers.processes[1].send_signal(signal.SIGTERM)
    assert workers.codes() == [75, 75]
    assert "saved" in workers.said(0)
    assert "interrupted" in workers.said(1)
    stopped = max(int(p.stem[5:]) for p in out.glob("ckpt-*.index"))
    assert 2 <= stopped < STEPS

    workers = Workers(words, 2, tmp_path)
    workers.wait_for("step 10/20")
    workers.processes[1].kill()
    assert workers.codes() == [75, -9]
    assert "worker 0 of 2 lost another one" in workers.said(0).splitlines()[-1]

    workers = Workers(words, 2, tmp_path)
    assert workers.codes() == [0, 0]
    for kind in ("train", "validation"):
        resumed, whole = lines(out, kind), lines(two[0], kind)
        assert [line["step"] for line in resumed] == [line["step"] for line in whole]
        # Equal but for the last bits, which depend on where an array lies in memory.
        for line, expected in zip(resumed, whole, strict=True):
            assert line == pytest.approx(expected, rel=1e-6)


@pytest.mark.nightly
def test_three_processes_and_a_dead_chief(few, tmp_path):
    """Of a detector of two stages; one process has no image to evaluate."""
    records = tiny.dataset(tmp_path, num_train=6, num_val=2)
    params = experiment(records, "fasterrcnn", validation_interval=4)
    params.override({"task": {"train_data": {"global_batch_size": 6}}})
    params.override({"task": {"validation_data": {"global_batch_size": 3}}})
    out = tmp_path / "out"
    workers = Workers(words_for(params, tmp_path, out), 3, tmp_path)
    workers.wait_for("validation at step 4")
    workers.processes[0].kill()
    assert workers.codes() == [-9, 75, 75]
    assert lines(out, "validation")[0]["num_images_evaluated"] == 2
    for index in (1, 2):
        assert "lost another one" in workers.said(index).splitlines()[-1]


@pytest.mark.nightly
def test_a_step_that_is_not_finite_ends_all(few, tmp_path):
    """With the batches of all of them in the folder of the run."""
    params = experiment(few, loss_upper_bound=1e-3)
    out = tmp_path / "out"
    workers = Workers(words_for(params, tmp_path, out), 2, tmp_path)
    assert workers.codes() == [2, 2]
    assert "step 1: the loss is above" in workers.said(0)
    dump = out / "nonfinite" / "step-1"
    assert {p.name for p in dump.glob("batch-*")} == {"batch-0.npz", "batch-1.npz"}
    assert f"libra replay {dump}" in workers.said(0)
