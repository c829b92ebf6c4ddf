"""Export each detector and predict with it: the SavedModel is the checkpoint."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import programs
import pytest
import tensorflow as tf
import tiny
from detections import Detections, assert_detections_close
from PIL import Image
from tolerances import ELEMENTWISE, NETWORK, assert_close

from libra_tf.commands.main import main
from libra_tf.inference import detector
from libra_tf.inference.detector import Detector

pytestmark = pytest.mark.usefixtures("built_once")

# Faster R-CNN is Mask R-CNN without its last part.
KINDS = [
    pytest.param(
        kind, marks=pytest.mark.nightly if kind == "fasterrcnn" else pytest.mark.slow
    )
    for kind in tiny.KINDS
]


@pytest.fixture(scope="module")
def loaded_once(built_once):
    """A detector that was loaded and traced serves the next command too."""
    with pytest.MonkeyPatch.context() as patch:
        load = functools.cache(detector.load_detector)
        patch.setattr(detector, "load_detector", load)
        yield


class Export(NamedTuple):
    """A run, its SavedModel for any batch, images, and what both detect with."""

    kind: str
    run: str
    folder: Path
    images: list[Path]
    checkpoint: Detector


@pytest.fixture(scope="module")
def export_of(tmp_path_factory, loaded_once):
    """Makes the export of a kind, once."""

    @functools.cache
    def export(kind):
        folder = tmp_path_factory.mktemp(kind)
        records = tiny.dataset(folder)
        params = tiny.experiment(f"libra_{kind}_resnetfpn_coco")
        params.override({"task": {"dataset": records, "model": {"num_classes": 0}}})
        # Untrained detectors find nothing above Model Garden's threshold.
        params.task.model.detection_generator.pre_nms_score_threshold = 0.0
        tiny.untrained_run(params, folder / "run")
        run, out = str(folder / "run"), str(folder / "export")
        assert main(["export", "--model", run, "--out", out]) == 0
        images = sorted((folder / "shapes" / "images" / "val").iterdir())
        checkpoint = detector.load_detector(run, newest=False)
        return Export(kind, run, folder / "export" / "saved_model", images, checkpoint)

    return export


@pytest.fixture(params=KINDS)
def exported(request, export_of):
    return export_of(request.param)


@pytest.fixture
def retinanet(export_of):
    """Where one detector is enough."""
    return export_of("retinanet")


def as_array(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_saved_model_gives_the_checkpoints_detections(exported):
    kind = exported.kind
    image = as_array(exported.images[0])
    a = exported.checkpoint.detect(image)
    b = detector.load_detector(str(exported.folder)).detect(image)
    assert len(a.boxes) > 0
    assert_close(a.boxes, b.boxes, of=NETWORK, scale=1.0)
    np.testing.assert_array_equal(a.classes, b.classes)
    assert_close(a.scores, b.scores, of=ELEMENTWISE, scale=1.0)
    assert (a.masks is not None) == (kind == "maskrcnn")
    if kind == "maskrcnn":
        assert a.masks == b.masks


def test_three_kinds_of_input_and_any_batch_agree(exported):
    loaded = tf.saved_model.load(str(exported.folder))
    signatures = loaded.signatures
    assert set(signatures) == {"serving_default", "image_bytes", "tf_example"}
    # As attributes, Model Garden's functions would double the time and the size.
    assert not [name for name in dir(loaded) if name.startswith("inference_")]
    arrays = [as_array(p) for p in exported.images[:2]]
    # PNG is lossless, the images of the data set are JPEGs.
    encoded = [tf.io.encode_png(a).numpy() for a in arrays]
    examples = [
        tf.train.Example(
            features=tf.train.Features(
                feature={
                    "image/encoded": tf.train.Feature(
                        bytes_list=tf.train.BytesList(value=[e])
                    )
                }
            )
        ).SerializeToString()
        for e in encoded
    ]
    batch = signatures["serving_default"](inputs=tf.constant(np.stack(arrays)))
    for name, inputs in (("image_bytes", encoded), ("tf_example", examples)):
        outputs = signatures[name](inputs=tf.constant(inputs))
        for key, value in batch.items():
            assert_close(outputs[key], value, of=NETWORK, scale=1.0, err_msg=key)
    single = signatures["serving_default"](inputs=tf.constant(arrays[1][np.newaxis]))
    pair = Detections.of_image(single), Detections.of_image(batch, 1)
    assert len(pair[0].scores) > 0
    assert_detections_close(*pair, side=tiny.SIZE, most=10)


def as_png(path, folder):
    """The same pixels for every program: JPEG decoders round in their own ways."""
    png = folder / "image.png"
    Image.fromarray(as_array(path)).save(png)
    return png


def assert_detects_as(checkpoint, image, outputs):
    """Outputs of a SavedModel, in pixels of its input, are the checkpoint's."""
    found = checkpoint.detect(as_array(image))
    expected = Detections(found.boxes, found.scores, found.classes)
    scale = np.tile(np.asarray(outputs["image_info"])[0, 2], 2)
    actual = Detections.of_image(outputs)
    actual = actual._replace(boxes=actual.boxes / scale)
    assert len(expected.scores) > 0
    assert_detections_close(actual, expected, side=tiny.SIZE, most=10)


NEW_PROCESS = """
import json, sys, tensorflow as tf
for folder in sys.argv[2:]:
    f = tf.saved_model.load(folder).signatures["image_bytes"]
    out = f(inputs=tf.constant([open(sys.argv[1], "rb").read()]))
    print(json.dumps({k: v.numpy().tolist() for k, v in out.items()}))
assert "libra_tf" not in sys.modules
"""


@pytest.mark.slow
def test_saved_models_load_in_a_new_process_without_libra_tf(export_of, tmp_path):
    exports = [export_of(kind) for kind in ("maskrcnn", "retinanet")]
    image = exports[0].images[0]
    folders = [str(export.folder) for export in exports]
    words = ["-c", NEW_PROCESS, str(as_png(image, tmp_path)), *folders]
    done = programs.run(words)
    assert done.returncode == 0, done.stderr[-2000:]
    for export, line in zip(exports, done.stdout.splitlines(), strict=True):
        outputs = {k: np.array(v) for k, v in json.loads(line).items()}
        assert_detects_as(export.checkpoint, image, outputs)


@pytest.mark.nightly  # The export binary is given batch size 1 every day.
def test_batch_of_one(retinanet, tmp_path):
    run, out = retinanet.run, str(tmp_path)
    assert main(["export", "--model", run, "--out", out, "--batch-size=1"]) == 0
    image = as_array(retinanet.images[0])
    found = detector.load_detector(out).detect(image)
    expected = retinanet.checkpoint.detect(image)
    assert len(expected.scores) > 0
    assert_close(found.scores, expected.scores, of=ELEMENTWISE, scale=1.0)


def test_predict_writes_coco_results_and_pictures(exported, tmp_path, capsys):
    images = exported.images
    files = [str(p) for p in images[:2]]
    arguments = ["--model", exported.run, "--out", str(tmp_path), "--threshold", "0"]
    assert main(["predict", *files, *arguments]) == 0
    results = json.loads((tmp_path / "detections.json").read_text())
    assert {r["image_id"] for r in results} == {1, 2}
    size = as_array(images[0]).shape[0]
    for result in results:
        x, y, w, h = result["bbox"]
        assert min(x, y, w, h) >= 0
        assert max(x + w, y + h) <= size + 1e-2
        assert result["category_name"] in ("rectangle", "ellipse", "triangle")
    for path in images[:2]:
        assert Image.open(tmp_path / f"{path.stem}.png").size[0] >= 480


@pytest.mark.slow
def test_predict_names_a_broken_image_and_keeps_the_rest(retinanet, tmp_path, capsys):
    _, run_folder, _, images, _ = retinanet
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(images[0].read_bytes()[:200])
    out = tmp_path / "out"
    files = [str(broken), str(images[0])]
    assert main(["predict", *files, "--model", run_folder, "--out", str(out)]) == 2
    assert str(broken) in capsys.readouterr().err
    results = json.loads((out / "detections.json").read_text())
    assert all(r["file_name"] == str(images[0]) for r in results)


@pytest.mark.slow
def test_predict_does_not_overwrite_its_input(retinanet, tmp_path, capsys):
    _, run_folder, _, images, _ = retinanet
    copy = tmp_path / "one.png"
    copy.write_bytes(images[0].read_bytes())
    arguments = ["--model", run_folder, "--out", str(tmp_path)]
    assert main(["predict", str(copy), *arguments]) == 2
    assert "name another folder" in capsys.readouterr().err
    assert copy.read_bytes() == images[0].read_bytes()


@pytest.mark.slow
def test_export_binary_takes_model_gardens_flags(retinanet, tmp_path):
    _, run_folder, _, images, checkpoint = retinanet
    command = [
        "-m",
        "libra_tf.export",
        "--experiment=libra_retinanet_resnetfpn_coco",
        f"--config_file={run_folder}/params.yaml",
        f"--checkpoint_path={run_folder}",
        f"--export_dir={tmp_path}",
        "--input_type=image_bytes",
        "--batch_size=1",
        f"--input_image_size={tiny.SIZE},{tiny.SIZE}",
    ]
    done = programs.run(command)
    assert done.returncode == 0, done.stderr[-2000:]
    loaded = tf.saved_model.load(str(tmp_path / "saved_model"))
    outputs = loaded.signatures["serving_default"](
        inputs=tf.constant([as_png(images[0], tmp_path).read_bytes()])
    )
    assert outputs["detection_scores"].shape == (1, 10)
    assert_detects_as(checkpoint, images[0], outputs)
