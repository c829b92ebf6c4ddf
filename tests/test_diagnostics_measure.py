"""`libra measure`: a run and its data in, measures out; mistakes in one line."""

import io
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny
from official.core import task_factory

from libra_tf.commands.main import main
from libra_tf.diagnostics import run
from libra_tf.diagnostics.measure import measure
from libra_tf.diagnostics.report import columns
from libra_tf.errors import UserError
from libra_tf.experiments.resolve import resolve
from libra_tf.experiments.saved import dump_params

NUM_IMAGES = 6  # two batches of three


def write_run(folder, records, kind, **sections):
    """A run as training leaves it, with weights of no training."""
    params = tiny.experiment(f"libra_{kind}_resnetfpn_coco", **sections)
    params.override({"task": {"dataset": records, "model": {"num_classes": 0}}})
    resolve(params)
    _, model = tiny.build(params)
    tf.train.Checkpoint(model=model).save(str(folder / "ckpt"))
    (folder / "params.yaml").write_text(dump_params(params))
    return str(folder)


@pytest.fixture(scope="module")
def two_stage(records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two_stage")
    return write_run(folder, records, "fasterrcnn")


@pytest.fixture(scope="module")
def one_stage(records, tmp_path_factory):
    sections = {
        "task": {
            "model": {"neck": {"type": "none"}},
            "train_data": {"global_batch_size": 2, "dtype": "bfloat16"},
        },
        "runtime": {"mixed_precision_dtype": "bfloat16"},
    }
    folder = tmp_path_factory.mktemp("one_stage")
    try:
        return write_run(folder, records, "retinanet", **sections)
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")


@pytest.fixture(scope="module")
def measured(two_stage):
    stream = io.StringIO()
    return measure(two_stage, images=NUM_IMAGES, stream=stream), stream.getvalue()


def test_sample_level_of_a_two_stage_detector(measured):
    values, progress = measured
    assert f"\r{NUM_IMAGES} images" in progress
    sample = values["sample"]
    assert sample["own"] == "iou_balanced"
    mean = sample["per_image"]
    assert 0 < mean["candidates"] <= 60 + 20
    assert mean["positives"] + mean["negatives"] == pytest.approx(mean["candidates"])
    assert 0 < mean["chosen"] <= 32
    for rule in sample["rules"].values():
        assert sum(rule["histogram"]) == pytest.approx(1)
        assert rule["above"] == pytest.approx(1 - rule["histogram"][0])


def test_objective_level_of_a_two_stage_detector(measured):
    objective = measured[0]["objective"]
    assert (objective["threshold"], objective["own"]) == (1.0, "balanced_l1")
    smooth, balanced = objective["losses"].values()
    number = measured[0]["sample"]["per_image"]["positives"] * NUM_IMAGES * 4
    assert smooth["inliers"] + smooth["outliers"] == pytest.approx(number)
    assert smooth["inliers"] == balanced["inliers"]
    if smooth["outliers"]:
        assert smooth["outlier_mean"] == pytest.approx(1.0)
        assert balanced["outlier_mean"] == pytest.approx(1.5)
        assert balanced["inlier_share"] > smooth["inlier_share"]


def test_feature_level_before_and_after_the_neck(measured):
    before, after = measured[0]["feature"]["before"], measured[0]["feature"]["after"]
    assert list(before["similarity"]) == ["2-3", "3-4", "4-5"]
    # The neck adds the same map to all levels.
    assert after["mean_similarity"] > before["mean_similarity"]
    assert all(norm > 0 for norm in after["norms"].values())
    assert measured[0]["notes"] == []


@pytest.mark.parametrize("kind", ["fasterrcnn", "retinanet"])
def test_every_measurement_sees_the_same_images(records, kind):
    def batches(seed):
        params = tiny.experiment(f"libra_{kind}_resnetfpn_coco")
        params.override({"task": {"dataset": records, "model": {"num_classes": 0}}})
        run._choose_images(params, 12, seed)
        task = task_factory.get_task(params.task)
        found = list(run._batches(task, params, 12, seed))
        return [x.numpy() for x in tf.nest.flatten(found)]

    first, other = batches(0), batches(1)
    for before, again in zip(first, batches(0), strict=True):
        np.testing.assert_array_equal(before, again)
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_images_come_once_before_one_comes_twice(records):
    params = tiny.experiment("libra_retinanet_resnetfpn_coco")
    params.override({"task": {"dataset": records, "model": {"num_classes": 0}}})
    # Without augmentation, to know the images again.
    parser = params.task.train_data.parser
    parser.aug_rand_hflip, parser.aug_scale_min, parser.aug_scale_max = False, 1.0, 1.0
    run._choose_images(params, 12, 0)
    found = run._batches(task_factory.get_task(params.task), params, 12, 0)
    images = {image.numpy().tobytes() for image, _ in found.unbatch()}
    assert len(images) == 12  # all of the training split


@pytest.mark.parametrize(("images", "size"), [(8, 4), (6, 3), (7, 1), (200, 4)])
def test_batches_hold_the_number_of_images_exactly(records, images, size):
    params = tiny.experiment("libra_retinanet_resnetfpn_coco")
    params.override({"task": {"dataset": records, "model": {"num_classes": 0}}})
    run._choose_images(params, images, 0)
    assert params.task.train_data.global_batch_size == size


def test_a_one_stage_detector_by_the_command(one_stage, tmp_path, capsys):
    out = tmp_path / "deep" / "measures.json"
    words = ["measure", one_stage, "--images", "3", "--out", str(out), "--json"]
    assert main(words) == 0
    values = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == values
    again = columns(measure(one_stage, images=3, stream=io.StringIO()))
    assert again == pytest.approx(columns(values), rel=1e-4)
    assert values["images"] == 3
    assert values["sample"] is None
    assert values["objective"]["threshold"] == pytest.approx(0.11)
    assert values["feature"]["before"]
    assert values["feature"]["after"] is None
    assert [note.partition(":")[0] for note in values["notes"]] == [
        "sample level",
        "feature level",
    ]
    assert tf_keras.mixed_precision.global_policy().name == "float32"
    assert [p.name for p in out.parent.iterdir()] == [out.name]


def test_another_split_and_checkpoint_as_text(one_stage, records, capsys):
    words = ["--checkpoint", f"{one_stage}/ckpt-1", "--split", "val", "--images", "1"]
    assert main(["measure", one_stage, *words, "--data", records]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{one_stage}/ckpt-1 on 1 images of {records}/val-")
    assert "smooth L1" in out
    assert "note: sample level: left out" in out


def error_of(capsys, *words):
    assert main(["measure", *map(str, words)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("number", ["0", "-3"])
def test_a_bad_number_of_images_is_refused(one_stage, capsys, number):
    err = error_of(capsys, one_stage, "--images", number)
    assert f"--images is {number}; give 1 or more" in err
    with pytest.raises(UserError, match="give 1 or more"):
        measure(one_stage, images=int(number))


def test_a_run_without_a_checkpoint_is_refused(tmp_path, capsys):
    assert "no checkpoint in this folder" in error_of(capsys, tmp_path)
    assert "no such checkpoint" in error_of(capsys, tmp_path / "none")


def test_a_checkpoint_that_is_not_there_is_refused(one_stage, capsys):
    words = [one_stage, "--checkpoint", f"{one_stage}/ckpt-7"]
    assert "no such checkpoint" in error_of(capsys, *words)


def test_a_checkpoint_of_another_detector_is_refused(one_stage, two_stage, capsys):
    words = [one_stage, "--checkpoint", f"{two_stage}/ckpt-1", "--images", "1"]
    assert "does not fit the model" in error_of(capsys, *words)


def test_a_split_that_is_not_there_is_refused(one_stage, capsys):
    assert "tail" in error_of(capsys, one_stage, "--split", "tail")


def test_data_without_an_image_is_refused(one_stage, records, tmp_path, capsys):
    empty = shutil.copytree(records, tmp_path / "empty")
    for file in empty.glob("train-*"):
        file.write_bytes(b"")
    err = error_of(capsys, one_stage, "--data", empty, "--images", "1")
    assert "0 examples in" in err
    assert "train-*.tfrecord" in err


def test_a_damaged_record_is_named(one_stage, records, tmp_path, capsys):
    spoilt = shutil.copytree(records, tmp_path / "spoilt")
    (file,) = spoilt.glob("train-*")
    data = bytearray(file.read_bytes())
    data[-100] ^= 1
    file.write_bytes(data)
    err = error_of(capsys, one_stage, "--data", spoilt, "--images", "1")
    assert f"{file}: record 11: its checksum is wrong" in err


def test_a_folder_as_output_is_refused(one_stage, tmp_path, capsys):
    err = error_of(capsys, one_stage, "--out", tmp_path)
    assert "is a folder; give the name of a file" in err
