"""Methods that change head, neck or detections: the SavedModel is the checkpoint."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
import tiny
from PIL import Image
from tolerances import ELEMENTWISE, NETWORK, assert_close

from libra_tf.commands.main import main
from libra_tf.experiments.saved import override
from libra_tf.inference.detector import load_detector
from libra_tf.training.runner import run

RESIDUAL = {"objectness": {"type": "residual"}}
METHODS = {
    "objectness": (
        "retinanet",
        {
            "model": RESIDUAL,
            "losses": {"classification": {"type": "residual_objectness"}},
        },
    ),
    "roi_objectness": ("fasterrcnn", {"model": RESIDUAL}),
    "class_thresholds": (
        "retinanet",
        {"model": {"prior": {"from_data": True, "score_threshold": "class_prior"}}},
    ),
    "ghm": ("retinanet", {"losses": {"classification": {"type": "ghm_c"}}}),
    "path_aggregation": (
        "fasterrcnn",
        {"model": {"neck": {"type": "path_aggregation"}}},
    ),
    "balanced_path_aggregation": (
        "retinanet",
        {"model": {"neck": {"type": "balanced_path_aggregation"}}},
    ),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return tiny.dataset(folder), sorted((folder / "shapes/images/val").iterdir())


@pytest.mark.nightly
@pytest.mark.parametrize("name", METHODS)
def test_saved_model_gives_the_checkpoints_detections(name, data, tmp_path):
    records, images = data
    kind, changes = METHODS[name]
    params = tiny.experiment(f"libra_{kind}_resnetfpn_coco")
    params.override({"task": {"dataset": records, "model": {"num_classes": 0}}})
    override(params, {"task": changes}, "test")
    # Untrained detectors find nothing above Model Garden's threshold.
    params.task.model.detection_generator.pre_nms_score_threshold = 0.0
    folder = str(tmp_path / "run")
    if name == "class_thresholds":  # come from the data of a training
        run(params, "train", folder, stream=io.StringIO(), async_checkpoints=False)
    else:
        tiny.untrained_run(params, tmp_path / "run")
    assert main(["export", "--model", folder, "--out", str(tmp_path / "out")]) == 0
    saved_model = str(tmp_path / "out" / "saved_model")
    checkpoint, exported = load_detector(folder), load_detector(saved_model)
    found = 0
    for path in images[:3]:
        image = np.asarray(Image.open(path).convert("RGB"))
        a, b = checkpoint.detect(image), exported.detect(image)
        assert_close(a.boxes, b.boxes, of=NETWORK, scale=1.0)
        np.testing.assert_array_equal(a.classes, b.classes)
        assert_close(a.scores, b.scores, of=ELEMENTWISE, scale=1.0)
        found += len(a.boxes)
        if name == "class_thresholds":
            thresholds = class_thresholds(saved_model)
            assert np.all(thresholds > 0)
            assert np.all(np.array(b.scores) >= thresholds[np.array(b.classes)] - 1e-6)
    assert found > 0


def class_thresholds(saved_model) -> np.ndarray:
    loaded = tf.saved_model.load(saved_model)
    variables = loaded.signatures["serving_default"].variables
    (found,) = [v.numpy() for v in variables if "class_thresholds" in v.name]
    return found
