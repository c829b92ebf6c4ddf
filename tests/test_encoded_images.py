"""Files of images in the graph of an untrained SavedModel: any size, kind, damage."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import tensorflow as tf
import tiny
from detections import Detections, assert_detections_close
from PIL import Image
from published_state_dicts import detector_shapes, random_weights
from torch_files import write_zip

from libra_tf.commands.main import main
from libra_tf.experiments.saved import dump_params
from libra_tf.inference.detector import load_detector
from libra_tf.inference.serving import build_module
from libra_tf.weights.published_detector import read_published

pytestmark = pytest.mark.slow
RNG = np.random.default_rng(0)
# The second is scaled to a third of a pixel.
SIZES = [(400, 267), (4000, 20), (1, 1)]


def save_run(folder, params):
    """Writes what training leaves of a detector with random weights."""
    folder.mkdir()
    (folder / "params.yaml").write_text(dump_params(params))
    module = build_module(params)
    step = tf.Variable(0, dtype=tf.int64)
    tf.train.Checkpoint(model=module.model, global_step=step).save(str(folder / "ckpt"))
    return str(folder)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Run folder and signatures of an untrained RetinaNet that finds something."""
    params = tiny.experiment("libra_retinanet_resnetfpn_coco")
    params.task.model.detection_generator.pre_nms_score_threshold = 0.0
    folder = tmp_path_factory.mktemp("export")
    run = save_run(folder / "run", params)
    assert main(["export", "--model", run, "--out", str(folder / "out")]) == 0
    # Signatures refer to what they use weakly.
    return run, tf.saved_model.load(str(folder / "out" / "saved_model"))


def encode(image, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format=kind, **options)
    return buffer.getvalue()


def random_image(height, width, *channels):
    return RNG.integers(0, 256, [height, width, *channels]).astype(np.uint8)


def in_pixels(outputs, i=0):
    """Detections in pixels of the image."""
    found = Detections.of_image(outputs, i)
    scale = np.tile(np.asarray(outputs["image_info"])[i, 2], 2)
    return found._replace(boxes=found.boxes / scale)


def of_arrays(model, image):
    return in_pixels(model.signatures["serving_default"](inputs=image[np.newaxis]))


def as_example(encoded):
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))
    features = tf.train.Features(feature={"image/encoded": feature})
    return tf.train.Example(features=features).SerializeToString()


def assert_same(actual, expected, side):
    __tracebackhide__ = True
    assert len(expected.scores) > 0
    assert_detections_close(actual, expected, side=side, most=10)


def ask(model, signature, files):
    inputs = files if signature == "image_bytes" else [as_example(f) for f in files]
    return model.signatures[signature](inputs=tf.constant(inputs))


@pytest.mark.parametrize("signature", ["image_bytes", "tf_example"])
def test_unequal_sizes_in_one_batch(exported, signature):
    _, model = exported
    images = [random_image(*size, 3) for size in SIZES]
    outputs = ask(model, signature, [encode(image) for image in images])
    for i, image in enumerate(images):
        np.testing.assert_array_equal(outputs["image_info"][i, 0], image.shape[:2])
        assert_same(in_pixels(outputs, i), of_arrays(model, image), max(image.shape))


def kinds():
    """Files, and the pixels that TensorFlow and `predict` see in them."""
    rgb, grey, rgba = (random_image(40, 30, *c) for c in ([3], [], [4]))
    deep = RNG.integers(0, 65536, [40, 30]).astype(np.uint16)
    with Image.open(io.BytesIO(encode(rgb, "JPEG"))) as jpeg:
        cmyk = io.BytesIO()
        jpeg.convert("CMYK").save(cmyk, "JPEG")
    stacked = [np.repeat(x[..., None], 3, -1) for x in (grey, deep >> 8)]
    return {
        "grey": (encode(grey), stacked[0]),
        "rgba": (encode(rgba), rgba[..., :3]),
        "16 bits": (encode(deep), stacked[1].astype(np.uint8)),
        "bmp": (encode(rgb, "BMP"), rgb),
        "webp": (encode(rgb, "WEBP", lossless=True), rgb),
        "webp of four": (
            encode(rgba, "WEBP", lossless=True, exact=True),
            rgba[..., :3],
        ),
        "cmyk": (cmyk.getvalue(), None),
        "progressive": (encode(rgb, "JPEG", progressive=True), None),
    }


def test_kinds_of_files(exported):
    _, model = exported
    files = kinds()
    outputs = ask(model, "image_bytes", [file for file, _ in files.values()])
    for i, (file, pixels) in enumerate(files.values()):
        if pixels is None:
            pixels = tf.io.decode_image(file, channels=3).numpy()
        assert_same(in_pixels(outputs, i), of_arrays(model, pixels), 40)


def test_a_turned_picture_is_detected_in_as_predict_does(exported, tmp_path):
    run, model = exported
    exif = Image.Exif()
    exif[0x0112] = 6
    file = encode(random_image(40, 60, 3), "JPEG", exif=exif)
    (tmp_path / "a.jpg").write_bytes(file)
    outputs = ask(model, "image_bytes", [file])
    np.testing.assert_array_equal(outputs["image_info"][0, 0], [60, 40])
    words = [str(tmp_path / "a.jpg"), "--model", run, "--no-pictures"]
    assert main(["predict", *words, "--out", str(tmp_path / "p")]) == 0
    records = json.loads((tmp_path / "p" / "detections.json").read_text())
    left, top, width, height = np.transpose([r["bbox"] for r in records])
    predicted = Detections(
        np.stack([top, left, top + height, left + width], -1),
        np.array([r["score"] for r in records]),
        np.array([r["category_id"] for r in records]),
    )
    assert_same(in_pixels(outputs), predicted, 60)


def damaged():
    whole = {kind: encode(random_image(30, 40, 3), kind) for kind in ("PNG", "JPEG")}
    wrong = bytearray(whole["PNG"])
    wrong[len(wrong) // 2] ^= 0xFF
    return [
        b"",
        b"<html>not found</html>",
        whole["PNG"][:-200],
        whole["JPEG"][:-200],
        bytes(wrong),  # Its checksum tells.
        b"\xff\xd8\xff\xd9",
    ]


@pytest.mark.parametrize("signature", ["image_bytes", "tf_example"])
def test_a_damaged_file_costs_its_own_answer_only(exported, signature):
    _, model = exported
    image, bad = random_image(30, 40, 3), damaged()
    outputs = ask(model, signature, [encode(image), *bad, encode(image)])
    np.testing.assert_array_equal(outputs["num_detections"][1:-1], [0] * len(bad))
    for name, value in outputs.items():
        assert np.all(np.isfinite(value)), name
        if name.startswith("detection_"):
            assert not np.any(value[1:-1]), name
    info = outputs["image_info"].numpy()
    assert np.all(info[1:-1, 0] == 0)  # how it is told
    assert np.all(info[:, 2] > 0)  # so that boxes can be divided by it
    expected = of_arrays(model, image)
    for i in (0, len(bad) + 1):
        np.testing.assert_array_equal(info[i, 0], [30, 40])
        assert_same(in_pixels(outputs, i), expected, 40)


def test_damaged_examples(exported):
    _, model = exported
    serve = model.signatures["tf_example"]
    image = random_image(30, 40, 3)
    inputs = [b"\xff\xff", b"", as_example(encode(image))]
    outputs = serve(inputs=tf.constant(inputs))
    np.testing.assert_array_equal(outputs["num_detections"][:2], [0, 0])
    assert_same(in_pixels(outputs, 2), of_arrays(model, image), 40)


def test_a_run_and_its_saved_model_agree_on_arrays(exported):
    run, model = exported
    image = random_image(*SIZES[0], 3)
    found = load_detector(run).detect(image)
    expected = Detections(found.boxes, found.scores, found.classes)
    assert_same(of_arrays(model, image), expected, max(image.shape))


def test_unequal_sizes_where_each_image_has_its_own_input(tmp_path):
    shapes = detector_shapes("retinanet", classes=3, base=4, fpn=16)
    path = write_zip(tmp_path / "x.pth", random_weights(shapes))
    overrides = {"canvas.short_side": 64, "canvas.long_side": 96}
    overrides["detection_generator.pre_nms_score_threshold"] = 0.0
    overrides["detection_generator.max_num_detections"] = 10
    settings = [f"task.model.{name}={value}" for name, value in overrides.items()]
    params = read_published(path, overrides=settings).params
    module = build_module(params, batch_size=4)
    serve = module.get_inference_signatures({"image_bytes": "serve"})["serve"]
    images = [random_image(*size, 3) for size in ((90, 61), (20, 75), (1, 1))]
    outputs = serve(inputs=tf.constant([*map(encode, images), b"no image"]))
    assert outputs["detection_boxes"].shape == [4, 10, 4]
    for i, image in enumerate(images):
        single = module.serve(tf.constant(image[np.newaxis]))
        assert_same(in_pixels(outputs, i), in_pixels(single), max(image.shape))
    assert int(outputs["num_detections"][3]) == 0
    np.testing.assert_array_equal(outputs["image_info"][3, 0], [0, 0])


def test_a_fixed_batch_size_is_known_to_the_detector():
    """Model Garden's plain suppression needs it."""
    params = tiny.experiment("libra_fasterrcnn_resnetfpn_coco")
    params.task.model.detection_generator.nms_version = "v1"
    module = build_module(params, batch_size=2, input_type="image_bytes")
    serve = module.get_inference_signatures({"image_bytes": "serve"})["serve"]
    outputs = serve(inputs=tf.constant([encode(random_image(30, 40, 3)), b""]))
    assert outputs["detection_boxes"].shape == [2, 10, 4]
    np.testing.assert_array_equal(outputs["image_info"][:, 0], [[30, 40], [0, 0]])
