"""Runs of the trainer on tiny data: what is written, resumed, refused."""

from __future__ import annotations

import io
import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny
from tolerances import ELEMENTWISE, tolerance

from libra_tf.errors import UserError
from libra_tf.experiments.saved import load_run
from libra_tf.files.lock import locked_run
from libra_tf.training.evaluate import evaluate_checkpoint
from libra_tf.training.runner import run
from libra_tf.weights.find_checkpoint import find_checkpoint

pytestmark = pytest.mark.usefixtures("built_once")


def libra(kind, records, **sections):
    params = tiny.experiment(f"libra_{kind}_resnetfpn_coco", **sections)
    params.override({"task": {"dataset": records, "model": {"num_classes": 0}}})
    return params


def train(params, folder, mode="train_and_eval"):
    stream = io.StringIO()
    metrics = run(params, mode, str(folder), stream=stream, async_checkpoints=False)
    return metrics, stream.getvalue()


def event_tags(folder) -> set[str]:
    tags = set()
    for name in os.listdir(folder):
        for event in tf.compat.v1.train.summary_iterator(os.path.join(folder, name)):
            tags |= {value.tag for value in event.summary.value}
    return tags


@pytest.fixture(scope="module")
def finished(records, tmp_path_factory, built_once):
    """A RetinaNet run of four steps: folder, metrics and printed lines."""
    folder = tmp_path_factory.mktemp("finished")
    params = libra("retinanet", records)
    params.override({"trainer": {"checkpoint_interval": 2}})
    return folder, *train(params, folder)


def test_a_run_says_what_it_does(finished):
    _, metrics, lines = finished
    assert "classes    3 (rectangle, ellipse, triangle)" in lines
    assert "weights    random" in lines
    assert "step 4/4  loss" in lines
    assert "examples/s" in lines
    assert "  lr 0.00" in lines
    assert "data wait" in lines
    assert "memory" in lines
    assert "  new best" in lines
    assert "best AP " in lines
    assert " at step 4: " in lines
    assert metrics["num_images_evaluated"] == 6
    assert metrics["num_images_missing"] == 0
    assert 0 <= metrics["AP"] <= 1


def test_metrics_are_json_lines(finished):
    folder, metrics, _ = finished
    lines = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(x["kind"], x["step"]) for x in lines] == [
        ("train", 2),
        ("train", 4),
        ("validation", 4),
    ]
    assert lines[0]["box_loss"] > 0
    assert lines[-1]["AP"] == pytest.approx(metrics["AP"])


def test_tensorboard_has_losses_and_ap_per_class(finished):
    folder, *_ = finished
    told = event_tags(folder / "train")
    assert {"loss/total", "loss/box", "loss/learning_rate"} <= told
    assert {"speed/data_wait_share", "speed/peak_memory_gib", "settings"} <= told
    told = event_tags(folder / "validation")
    assert {"AP/AP", "AP/AP50", "AP_class/ellipse", "AP_iou/AP@0.55"} <= told


def copy_of(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    return folder


def test_a_run_is_resumed(finished, records, tmp_path, short_step):
    folder = copy_of(finished, tmp_path)
    params = libra("retinanet", records, trainer={"train_steps": 6})
    _, lines = train(params, folder, mode="train")
    assert "resumed at step 4" in lines
    restored = lines.split("resumed at step 4: ")[1].split(" variables")[0]
    n, m = restored.split(" of ")
    assert n == m
    assert "step 6/6" in lines


def test_a_missing_last_evaluation_is_made_up_for(
    finished, records, tmp_path, untraced
):
    folder = copy_of(finished, tmp_path)
    # As after a run that was killed between its last step and the evaluation.
    shutil.rmtree(folder / "best_ckpt")
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["kind"] == "train"]
    assert len(kept) == len(lines) - 1
    (folder / "metrics.jsonl").write_text("".join(kept))
    metrics, lines = train(libra("retinanet", records), folder)
    assert "validation at step 4" in lines
    assert metrics["AP"] == pytest.approx(finished[1]["AP"])
    again, lines = train(libra("retinanet", records), folder)
    assert "validation" not in lines
    assert again["AP"] == pytest.approx(metrics["AP"])


def test_the_best_checkpoint_evaluates_to_its_metrics(finished):
    folder, metrics, _ = finished
    found = find_checkpoint(str(folder))
    assert "best_ckpt" in found.path
    again, _ = evaluate_checkpoint(found.params, found.path, io.StringIO())
    assert again["AP"] == pytest.approx(metrics["AP"], abs=tolerance(ELEMENTWISE))
    assert again["AP50"] == pytest.approx(metrics["AP50"], abs=tolerance(ELEMENTWISE))


def test_averaged_weights_evaluate_to_the_metrics_of_their_run(
    records, tmp_path, untraced
):
    params = libra("retinanet", records)
    params.override(
        {
            "trainer": {
                "best_checkpoint_export_subdir": "",
                "best_checkpoint_eval_metric": "",
                "optimizer_config": {
                    "ema": {"average_decay": 0.5, "dynamic_decay": False}
                },
            }
        }
    )
    metrics, _ = train(params, tmp_path)
    found = find_checkpoint(str(tmp_path))
    assert found.path.endswith("average_weights-4")
    again, _ = evaluate_checkpoint(found.params, found.path, io.StringIO())
    assert again["AP"] == pytest.approx(metrics["AP"], abs=tolerance(ELEMENTWISE))
    kernel = "head/_cls_convs/0/kernel/.ATTRIBUTES/VARIABLE_VALUE"
    average, last = (
        tf.train.load_variable(path, kernel)
        for path in (found.path, str(tmp_path / "ckpt-4"))
    )
    assert np.abs(average - last).max() > 1e-6


def test_params_can_be_read_again(finished, records):
    folder, *_ = finished
    params = load_run(str(folder))
    assert params.task.model.num_classes == 4
    assert params.task.dataset == records


def test_another_model_in_the_folder_is_refused(finished, records):
    folder, *_ = finished
    params = libra("retinanet", records)
    params.task.model.decoder.fpn.num_filters = 24
    with pytest.raises(UserError, match=r"task\.model\.decoder\.fpn\.num_filters"):
        train(params, folder, mode="train")
    # The good run keeps its settings.
    assert load_run(str(folder)).task.model.decoder.fpn.num_filters == 16


def test_a_neck_cannot_be_switched_off_in_a_run(finished, records):
    folder, *_ = finished
    params = libra("retinanet", records, trainer={"train_steps": 8})
    params.task.model.neck.type = "none"
    with pytest.raises(UserError, match=r"task\.model\.neck\.type"):
        train(params, folder, mode="train")


@pytest.mark.parametrize(
    "xla",
    [
        pytest.param(False, marks=pytest.mark.slow, id="plain"),
        pytest.param(True, marks=pytest.mark.nightly, id="xla"),
    ],
)
def test_sampler_in_a_resumed_faster_rcnn(records, tmp_path, xla):
    """On Model Garden's default strategy, in bfloat16; with XLA after the resume."""
    sections = {
        "distribution_strategy": "mirrored",
        "mixed_precision_dtype": "bfloat16",
    }

    def to(steps, xla):
        sections["enable_xla"] = xla
        small = {"train_steps": steps, "checkpoint_interval": 2}
        params = libra("fasterrcnn", records, runtime=sections, trainer=small)
        params.task.train_data.dtype = "bfloat16"
        return params

    try:
        if xla:
            train(to(2, xla=False), tmp_path, mode="train")
        else:
            tiny.untrained_run(to(2, xla=False), tmp_path, step=2)
        before = moving_means(tmp_path / "ckpt-2")
        _, lines = train(to(4, xla=xla), tmp_path, mode="train")
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    assert "resumed at step 2" in lines
    reader = tf.train.load_checkpoint(str(tmp_path))
    counts = [k for k in reader.get_variable_to_shape_map() if "num_calls" in k]
    assert [int(reader.get_tensor(k)) for k in counts] == [4] * len(counts)
    assert counts
    after = moving_means(tmp_path / "ckpt-4")
    assert after.keys() == before.keys() != set()
    for name, mean in after.items():
        assert abs(mean - before[name]).max() > 0, "BatchNorm did not learn"


def moving_means(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Those of the decoder's BatchNorms, in a checkpoint."""
    reader = tf.train.load_checkpoint(str(path))
    return {
        k: reader.get_tensor(k)
        for k in reader.get_variable_to_shape_map()
        if k.startswith("decoder/") and "moving_mean/.ATTRIBUTES" in k
    }


def test_a_loss_out_of_range_stops_before_a_checkpoint(records, tmp_path, short_step):
    params = libra("retinanet", records)
    bound = {"loss_upper_bound": 1e-9, "checkpoint_interval": 2}
    params.override({"trainer": bound})
    with pytest.raises(UserError, match=r"step 1: the loss is above trainer"):
        train(params, tmp_path, mode="train")
    assert tf.train.latest_checkpoint(str(tmp_path)) is None


@pytest.mark.parametrize("damage", ["lost", "cut", "empty", "names another"])
def test_a_broken_state_file_does_not_restart_the_run(
    damage, finished, records, tmp_path
):
    folder = copy_of(finished, tmp_path)
    state = folder / "checkpoint"
    if damage == "lost":
        state.unlink()
    elif damage == "cut":
        state.write_text(state.read_text()[:20])
    elif damage == "empty":
        state.write_text("")
    else:
        state.write_text('model_checkpoint_path: "ckpt-99"')
    with pytest.raises(UserError, match="its file `checkpoint` is lost, broken"):
        train(libra("retinanet", records), folder, mode="train")


def test_a_damaged_checkpoint_is_named(finished, records, tmp_path, short_step):
    folder = copy_of(finished, tmp_path)
    newest = tf.train.latest_checkpoint(str(folder))
    data = f"{newest}.data-00000-of-00001"
    os.truncate(data, os.path.getsize(data) // 2)
    _, lines = train(libra("retinanet", records), folder, mode="train")
    assert "ckpt-4 is damaged" in lines
    assert "going on from ckpt-2" in lines


def test_a_second_training_in_the_folder_is_refused(records, tmp_path):
    with (
        locked_run(str(tmp_path)),
        pytest.raises(UserError, match="trained by another process"),
    ):
        train(libra("retinanet", records), tmp_path, mode="train")


def test_a_damaged_record_is_named(records, tmp_path, short_step):
    folder = tmp_path / "records"
    shutil.copytree(records, folder)
    (path,) = folder.glob("train-*.tfrecord")
    os.truncate(path, path.stat().st_size - 100)
    with pytest.raises(UserError, match=r"tfrecord: record 11: it is cut short"):
        train(libra("retinanet", str(folder)), tmp_path / "run", mode="train")


def test_stock_experiments_run_too(records, tmp_path):
    params = tiny.experiment("retinanet_resnetfpn_coco")
    params.override({"task": {"validation_data": {"drop_remainder": False}}})
    params.trainer.eval_tf_function = False
    tiny.point_to(params, records)
    _, lines = train(params, tmp_path)
    assert "step 4/4" in lines


def test_retinanet_without_annotation_file(records, tmp_path, short_step, untraced):
    """Model Garden 2.20 fails here with numpy 2.4."""
    params = tiny.experiment("libra_retinanet_resnetfpn_coco")
    tiny.point_to(params, records)
    params.task.annotation_file = None
    metrics, _ = train(params, tmp_path)
    assert metrics["num_images_evaluated"] == 6


OFF = {
    "neck": {"model": {"neck": {"type": "none"}}},
    "sampler": {
        "model": {"roi_sampler": {"positives": "random", "negatives": "random"}}
    },
    "box": {"losses": {"box": {"type": "smooth_l1"}}},
}


@pytest.mark.nightly
@pytest.mark.parametrize("name", OFF)
def test_two_components_train_without_the_third(name, records, tmp_path, untraced):
    """All three together train in test_export, each alone in test_parity."""
    params = libra("fasterrcnn", records, trainer={"train_steps": 2})
    params.override({"task": OFF[name]})
    _, lines = train(params, tmp_path, mode="train")
    assert "step 2/2" in lines
