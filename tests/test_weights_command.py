"""`libra weights`: from a file of PyTorch to detections that equal PyTorch's."""

import functools
import json
import pathlib
import re

import numpy as np
import programs
import pytest
import tensorflow as tf
import tiny
from detections import Detections, assert_detections_close
from PIL import Image
from published_state_dicts import COUNTER, detector_shapes, random_weights
from tolerances import NETWORK, NOISE
from torch_files import ordered, write_stream, write_zip

from libra_tf.commands.main import main
from libra_tf.errors import UserError
from libra_tf.experiments.saved import load_run
from libra_tf.inference.detector import load_detector
from libra_tf.inference.serving import build_module
from libra_tf.ops.keep_ratio import normalize_bytes, pad_to_multiple, resize_bytes
from libra_tf.weights import importer
from libra_tf.weights.averages import Averages
from libra_tf.weights.class_names import COCO_CLASSES
from libra_tf.weights.find_checkpoint import find_checkpoint
from libra_tf.weights.published_detector import read_published
from libra_tf.weights.restore import inspect_checkpoint, restore_all

pytestmark = pytest.mark.usefixtures("built_once")

GOLDEN = pathlib.Path(__file__).parent / "golden"
FILES = {
    "faster_rcnn": "libra-faster-rcnn_r50_fpn_1x_coco",
    "retinanet": "libra-retinanet_r50_fpn_1x_coco",
}
# The reference ran with these.
OVERRIDES = {
    "faster_rcnn": [
        "task.model.roi_generator.test_pre_nms_top_k=200",
        "task.model.roi_generator.test_num_proposals=100",
    ],
    "retinanet": [],
}
LIMITS = {"threshold": 0.05, "most": 100}  # Of the published detectors.
LONG_SIDE = 192
CANVAS = [
    "task.model.canvas.short_side=160",
    f"task.model.canvas.long_side={LONG_SIDE}",
]
SMALL = {"base": 4, "fpn": 16, "fc": 32}
# What a new process computes on the normalised images of the golden files.
DETECT = """
import sys
import numpy as np
from libra_tf.weights.find_checkpoint import find_checkpoint
from libra_tf.inference.serving import build_module
from libra_tf.weights.restore import restore_all

for run in sys.argv[1:]:
    found = find_checkpoint(run)
    model = build_module(found.params).model
    restore_all(found.path, {"model": model})
    images = np.load(run + ".npy")
    outputs = model(images, image_shape=np.float32([images.shape[1:3]]), training=False)
    kept = {k: v.numpy() for k, v in outputs.items() if "detection" in k}
    np.savez(run + ".npz", **kept)
"""


def import_file(path, out, *settings, flags=()):
    words = [word for text in settings for word in ("--set", text)]
    return main(["weights", "import", str(path), "--out", str(out), *words, *flags])


@pytest.fixture(scope="module")
def import_of(tmp_path_factory, built_once):
    """Imports the golden file of a detector, once; returns the folder."""

    @functools.cache
    def folder(detector):
        out = tmp_path_factory.mktemp(detector) / "run"
        path = GOLDEN / f"{FILES[detector]}.pth"
        assert import_file(path, out, *OVERRIDES[detector], *CANVAS) == 0
        return out

    return folder


@pytest.fixture(params=FILES)
def imported(request, import_of):
    """Name of a detector, and the folder of the golden file's import."""
    return request.param, import_of(request.param)


def test_detections_equal_the_reference_in_a_new_process(import_of):
    goldens = {name: np.load(GOLDEN / f"{FILES[name]}.npz") for name in FILES}
    runs = {name: str(import_of(name)) for name in FILES}
    for name, golden in goldens.items():
        image = golden["image_nchw"].transpose(0, 2, 3, 1)
        np.save(f"{runs[name]}.npy", image)
    done = programs.run(["-c", DETECT, *runs.values()])
    assert done.returncode == 0, done.stderr[-2000:]
    for detector, golden in goldens.items():
        found = np.load(f"{runs[detector]}.npz")
        names = ("boxes_xyxy", "scores", "labels")
        boxes, scores, labels = (golden[name] for name in names)
        assert_detections_close(
            Detections.of_image(found, classes_from=1),
            Detections(boxes[:, [1, 0, 3, 2]], scores, labels),
            side=max(golden["image_nchw"].shape),
            **LIMITS,
        )


def test_the_folder_is_that_of_a_run(imported):
    detector, run = imported
    names = {path.name for path in run.iterdir()}
    assert {"params.yaml", "import.json", "checkpoint", "ckpt-0.index"} <= names
    assert len(names) == 5
    record = json.loads((run / "import.json").read_text())
    assert record["architecture"]["detector"] == detector
    assert record["source"] == f"{FILES[detector]}.pth"
    assert record["num_tensors"] == {"faster_rcnn": 303, "retinanet": 309}[detector]
    task = load_run(str(run)).task
    assert task.class_names == ["background", *(f"class_{i}" for i in range(1, 6))]
    # Training starts from all of it.
    assert task.init_checkpoint == str(run)
    assert task.init_checkpoint_modules == "all"
    model = build_module(find_checkpoint(str(run)).params).model
    report = inspect_checkpoint(str(run), model.checkpoint_items)
    assert report.restored == report.total == record["num_tensors"]


@pytest.mark.parametrize(
    "size",
    [
        pytest.param((160, 192), marks=pytest.mark.nightly, id="as is"),
        pytest.param((97, 61), id="resized"),
    ],
)
def test_predict_prepares_images_as_mmdetection(imported, tmp_path, size):
    _, run = imported
    image = np.random.default_rng(2).integers(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    words = [str(tmp_path / "a.png"), "--model", str(run), "--no-pictures"]
    assert main(["predict", *words, "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "detections.json").read_text())
    checkpoint = find_checkpoint(str(run))
    model = build_module(checkpoint.params).model
    restore_all(checkpoint.path, {"model": model})
    # 97x61 to 192x121: the longer side fits first.
    resized = size if size == (160, 192) else (192, 121)
    images = normalize_bytes(resize_bytes(image[np.newaxis], resized))
    assert pad_to_multiple(images, 32).shape[1:3] == ((160, 192) if size == resized else
                                                      (192, 128))  # fmt: skip
    outputs = model(
        pad_to_multiple(images, 32),
        image_shape=tf.constant([resized], tf.float32),
        training=False,
    )
    expected = Detections.of_image(outputs)
    assert len(expected.scores) > 0
    expected = expected._replace(
        boxes=expected.boxes / np.tile(np.divide(resized, size), 2)
    )
    assert_detections_close(
        written(found), expected, side=max(size), of=NOISE, **LIMITS
    )


def written(records):
    """Detections of one image in a file, with boxes yxyx."""
    left, top, width, height = np.transpose([record["bbox"] for record in records])
    return Detections(
        np.stack([top, left, top + height, left + width], -1),
        np.array([record["score"] for record in records]),
        np.array([record["category_id"] for record in records]),
    )


@pytest.mark.nightly
def test_the_saved_model_gives_the_same_for_every_size(imported, tmp_path):
    _, run = imported
    assert main(["export", "--model", str(run), "--out", str(tmp_path)]) == 0
    saved, checkpoint = load_detector(str(tmp_path)), load_detector(str(run))
    rng = np.random.default_rng(3)
    for size in ((90, 61), (33, 200), (160, 192)):
        image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
        a, b = saved.detect(image), checkpoint.detect(image)
        assert len(a.boxes) > 0
        pair = (Detections(x.boxes, x.scores, x.classes) for x in (a, b))
        assert_detections_close(*pair, side=max(size), of=NOISE, **LIMITS)
    description = tmp_path / "saved_model" / "assets.extra" / "libra_tf.json"
    assert json.loads(description.read_text())["canvas"]["short_side"] == 160


@pytest.mark.slow
@pytest.mark.parametrize("detector", FILES)
def test_eval_finds_what_predict_finds(detector, tmp_path, untraced):
    records = tiny.dataset(tmp_path, num_train=1, num_val=3)
    weights = random_weights(detector_shapes(detector, classes=3, **SMALL))
    path = write_stream(tmp_path / "x.pth", {"state_dict": ordered(weights)})
    names = ["--class-names", f"{records}/dataset.json"]
    run = tmp_path / "run"
    assert import_file(path, run, *CANVAS, flags=names) == 0
    words = ["--model", str(run), "--data", records, "--out", str(tmp_path / "eval")]
    assert main(["eval", *words]) == 0
    evaluated = json.loads((tmp_path / "eval" / "detections.json").read_text())
    images = str(tmp_path / "shapes" / "images" / "val")
    words = [images, "--model", str(run), "--out", str(tmp_path / "p"), "--no-pictures"]
    assert main(["predict", *words, "--annotations", f"{records}/val.json"]) == 0
    predicted = json.loads((tmp_path / "p" / "detections.json").read_text())
    assert len(evaluated) > 0
    for image in {record["image_id"] for record in evaluated + predicted}:
        pair = (
            written([record for record in records if record["image_id"] == image])
            for records in (evaluated, predicted)
        )
        assert_detections_close(*pair, side=LONG_SIDE, **LIMITS)


@pytest.mark.parametrize(
    "detector",
    ["retinanet", pytest.param("faster_rcnn", marks=pytest.mark.nightly)],
)
def test_coco_ids_change_nothing_but_the_ids(detector, tmp_path):
    weights = random_weights(detector_shapes(detector, classes=80, **SMALL), seed=4)
    path = write_zip(tmp_path / "x.pth", {"state_dict": ordered(weights)})
    numbered = tmp_path / "names.txt"
    numbered.write_text("\n".join(COCO_CLASSES.values()))
    low = "task.model.detection_generator.pre_nms_score_threshold=0.001"
    flags = {"coco": (), "numbered": ("--class-names", str(numbered))}
    image = np.random.default_rng(5).integers(0, 256, (64, 80, 3)).astype(np.uint8)
    found = {}
    for name, extra in flags.items():
        assert import_file(path, tmp_path / name, low, *CANVAS, flags=extra) == 0
        found[name] = load_detector(str(tmp_path / name)).detect(image)
    assert len(found["coco"].boxes) == 100
    ids = np.array(list(COCO_CLASSES))
    pair = (
        Detections(found["coco"].boxes, found["coco"].scores, found["coco"].classes),
        Detections(
            found["numbered"].boxes,
            found["numbered"].scores,
            ids[found["numbered"].classes - 1],
        ),
    )
    limits = {**LIMITS, "threshold": 0.001}
    assert_detections_close(*pair, side=max(image.shape), of=NETWORK, **limits)


def refused(capsys, *words):
    capsys.readouterr()
    assert main(["weights", *map(str, words)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[-1].startswith("libra: error: ")
    return lines


def test_all_that_does_not_fit_is_listed(tmp_path, capsys):
    weights = random_weights(detector_shapes("faster_rcnn", classes=3, **SMALL))
    del weights["neck.1.refine.g.conv.bias"]
    del weights["backbone.layer3.2.bn1.weight"]
    weights["backbone.layer9.weight"] = np.ones(2, np.float32)
    weights["roi_head.mask_head.bias"] = np.ones(2, np.float32)
    weights["rpn_head.rpn_cls.weight"] = np.ones((6, 16, 1, 1), np.float32)
    weights["backbone.bn1.bias"] = np.ones(4, np.int64)
    path = write_zip(tmp_path / "x.pth", {"state_dict": ordered(weights)})
    *lines, last = refused(capsys, "import", path, "--out", tmp_path / "run")
    assert sorted(lines) == [
        "left over: backbone.layer9.weight",
        "left over: roi_head.mask_head.bias",
        "missing: backbone.layer3.2.bn1.weight",
        "missing: neck.1.refine.g.conv.bias",
        "wrong shape: rpn_head.rpn_cls.weight (6, 16, 1, 1), expected (3, 16, 1, 1)",
        "wrong type: backbone.bn1.bias is int64",
    ]
    assert f"{path}: does not fit Libra Faster R-CNN" in last
    assert last.endswith("and 3 more")
    assert [p.name for p in tmp_path.iterdir()] == ["x.pth"]


@pytest.mark.parametrize(
    ("detector", "layer", "shape"),
    [
        ("retinanet", "neck.0.lateral_convs.0.conv.weight", (40_000, 1, 1, 1)),
        ("retinanet", "bbox_head.cls_convs.0.conv.weight", (40_000, 1, 1, 1)),
        ("faster_rcnn", "backbone.conv1.weight", (100_000, 1)),
        ("faster_rcnn", "roi_head.bbox_head.shared_fcs.0.weight", (10**5, 16)),
    ],
)
def test_a_layer_of_gigabytes_is_not_built(
    tmp_path, capsys, monkeypatch, detector, layer, shape
):
    """It has a few bytes in the file, and the weights around it do not fit it."""
    weights = random_weights(detector_shapes(detector, classes=3, **SMALL))
    weights[layer] = np.ones(shape, np.float32)
    path = write_zip(tmp_path / "x.pth", {"state_dict": ordered(weights)})

    def forbidden(published):
        raise AssertionError("is built")

    monkeypatch.setattr(importer, "build_detector", forbidden)
    for words in (("--out", tmp_path / "run"), ("--dry-run",)):
        *lines, last = refused(capsys, "import", path, *words)
        assert f"{path}: does not fit Libra " in last
        assert any(line.startswith("wrong shape: ") for line in lines)


def test_shapes_of_coco_heads_are_listed(tmp_path, capsys):
    """With COCO's ids the outputs have gaps, which the file has not."""
    weights = random_weights(detector_shapes("faster_rcnn", classes=80, **SMALL))
    width = weights["roi_head.bbox_head.fc_reg.weight"].shape[1]
    weights["roi_head.bbox_head.fc_cls.bias"] = np.ones(80, np.float32)
    weights["roi_head.bbox_head.fc_reg.weight"] = np.ones((4, width), np.float32)
    weights["roi_head.bbox_head.fc_reg.bias"] = np.ones((), np.float32)
    path = write_zip(tmp_path / "x.pth", {"state_dict": ordered(weights)})
    *lines, _ = refused(capsys, "import", path, "--out", tmp_path / "run")
    start = "wrong shape: roi_head.bbox_head"
    assert sorted(lines) == [
        f"{start}.fc_cls.bias (80,), expected (81,)",
        f"{start}.fc_reg.bias (), expected (320,)",
        f"{start}.fc_reg.weight (4, {width}), expected (320, {width})",
    ]


def test_values_that_are_not_finite(tmp_path, capsys):
    weights = random_weights(detector_shapes("retinanet", classes=3, **SMALL))
    weights["bbox_head.retina_reg.bias"][0] = np.nan
    weights["neck.0.fpn_convs.0.conv.bias"][1] = np.inf
    weights["backbone.bn1.running_var"][2] = -1.0
    path = write_zip(tmp_path / "x.pth", {"state_dict": ordered(weights)})
    *lines, last = refused(capsys, "import", path, "--out", tmp_path / "run")
    assert sorted(lines) == [
        "negative: backbone.bn1.running_var",
        "not finite: bbox_head.retina_reg.bias",
        "not finite: neck.0.fpn_convs.0.conv.bias",
    ]
    assert "has values that no detector has" in last
    assert [p.name for p in tmp_path.iterdir()] == ["x.pth"]


@pytest.fixture
def small(tmp_path):
    """A file with a detector of three classes."""
    weights = random_weights(detector_shapes("retinanet", classes=3, **SMALL))
    return write_zip(tmp_path / "small.pth", ordered(weights))


def test_mistakes_that_show_before_anything_is_built(small, tmp_path, capsys):
    out = tmp_path / "run"
    for words, message in {
        ("import", small): "give either --out DIR or --dry-run",
        ("import", small, "--out", out, "--dry-run"): "give either --out DIR or",
        ("import", tmp_path / "no.pth", "--out", out): "No such file or directory",
        ("import", small, "--out", small): "is a file; name a folder",
        ("import", small, "--out", tmp_path): "is not empty; name another folder",
        ("import", small, "--out", tmp_path, "--force"): "is not empty; name another",
        ("import", small, "--out", out, "--class-names", tmp_path / "x"): "as text",
        ("import", small, "--out", out, "--set", "task.modle=1"): "did you mean",
        ("import", small, "--out", out, "--set", "task.model.canvas.form=x"): "form",
    }.items():
        (line,) = refused(capsys, *words)
        assert message in line, words
    assert not out.exists()


@pytest.mark.parametrize("content", [b"", b"PK\3\4 torn", b"<html>not found</html>"])
def test_files_of_another_kind(tmp_path, capsys, content):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    (line,) = refused(capsys, "import", path, "--out", tmp_path / "run")
    assert line.startswith(f"libra: error: {path}: ")


def test_a_classifier_is_no_detector(tmp_path, capsys):
    weights = {"conv1.weight": np.ones((4, 3, 7, 7), np.float32)}
    path = write_zip(tmp_path / "x.pth", weights)
    (line,) = refused(capsys, "import", path, "--out", tmp_path / "run")
    assert "neither a Libra Faster R-CNN nor a Libra RetinaNet" in line


def test_a_download_that_is_incomplete_by_its_name(small, tmp_path, capsys):
    path = small.rename(
        tmp_path / "libra_retinanet_r50_fpn_1x_coco_20200205-804d94ce.pth"
    )
    (line,) = refused(capsys, "import", path, "--out", tmp_path / "run")
    assert "the download is incomplete or changed" in line


@pytest.mark.parametrize(("mean", "good"), [(123.675, True), (0.0, False)])
def test_other_image_statistics_are_refused(tmp_path, capsys, mean, good):
    weights = random_weights(detector_shapes("retinanet", classes=3, **SMALL))
    weights["data_preprocessor.mean"] = np.array([mean, 116.28, 103.53]).reshape(
        3, 1, 1
    )
    path = write_zip(tmp_path / "x.pth", ordered(weights))
    if good:
        assert read_published(path).architecture.num_classes == 3
        return
    with pytest.raises(UserError, match=r"data_preprocessor\.mean is \[0\.0"):
        read_published(path)


def test_force_replaces_an_import_and_nothing_else(small, tmp_path, capsys):
    out = tmp_path / "run"
    assert import_file(small, out) == 0
    (line,) = refused(capsys, "import", small, "--out", out)
    assert line.endswith("give --force to replace it, or name another folder")
    before = (out / "ckpt-0.index").stat().st_mtime_ns
    assert import_file(small, out, flags=["--force", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["model"] == str(out)
    assert (out / "ckpt-0.index").stat().st_mtime_ns > before
    (out / "ckpt-9.index").touch()
    (line,) = refused(capsys, "import", small, "--out", out, "--force")
    assert "is not empty; name another folder" in line
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run", "small.pth"]


def test_a_dry_run_tells_where_weights_go(small, tmp_path, capsys):
    assert main(["weights", "import", str(small), "--dry-run", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    by_name = {row["name"]: row for row in rows}
    row = by_name["bbox_head.retina_cls.weight"]
    assert row["shape"] == [27, 16, 3, 3]
    assert row["variable_shape"] == [3, 3, 16, 36]
    assert len(by_name) == len(rows) == 309
    assert [p.name for p in tmp_path.iterdir()] == ["small.pth"]


def test_show(small, tmp_path, capsys):
    assert main(["weights", "show", str(small)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["backbone.conv1.weight", "float32", "4x3x7x7"]
    assert lines[-1].startswith("Libra RetinaNet, ResNet-50 of 4 channels")
    assert lines[-2].startswith("362 tensors, ")
    assert main(["weights", "show", str(small), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["architecture"]["num_classes"] == 3
    assert content["tensors"][f"backbone.bn1.{COUNTER}"] == {
        "shape": [], "type": "int64",
    }  # fmt: skip
    other = write_zip(tmp_path / "y.pth", {"a": np.ones(3, np.float32)})
    assert main(["weights", "show", str(other)]) == 0
    assert "neither a Libra Faster R-CNN" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("task.init_checkpoint=there", "it will be the import itself"),
        ("task.class_names=[a,b]", "name the classes by --class-names"),
        ("task.model.neck.refine_level=9", "the pyramid has the levels 2 to 6"),
        ("task.losses.box.type=l3", "task.losses.box.type"),
    ],
)
def test_a_setting_that_an_import_cannot_have_is_refused(setting, message, tmp_path):
    weights = random_weights(detector_shapes("faster_rcnn", classes=3, **SMALL))
    path = write_stream(tmp_path / "x.pth", {"state_dict": ordered(weights)})
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\n")
    with pytest.raises(UserError, match=re.escape(message)):
        read_published(path, names, [setting])


@pytest.fixture(params=["mmcv", "mmengine", "wrapped"])
def with_averages(request, tmp_path):
    """Kind of file, with an average of each parameter, 1 more than it; and how many."""
    weights = random_weights(detector_shapes("retinanet", classes=3, **SMALL))
    averages = {
        name: value + 1
        for name, value in weights.items()
        if "running" not in name and COUNTER not in name
    }
    if request.param == "mmengine":
        apart = {f"module.{name}": value for name, value in averages.items()}
        content = {
            "state_dict": ordered(weights),
            "ema_state_dict": ordered({"steps": np.asarray(5), **apart}),
        }
    else:
        wrapper = "model." if request.param == "wrapped" else ""
        twins = {f"ema_{k.replace('.', '_')}": v for k, v in averages.items()}
        content = ordered({wrapper + k: v for k, v in (weights | twins).items()})
    path = write_zip(tmp_path / "ema.pth", content)
    return request.param, path, len(averages)


@pytest.mark.parametrize("ema", [False, True])
def test_moving_averages_are_counted_or_taken(with_averages, ema):
    _, path, count = with_averages
    published = read_published(path, ema=ema)
    assert published.averages == Averages(count, taken=ema)
    assert len(published.names) == 309
    weights = random_weights(detector_shapes("retinanet", classes=3, **SMALL))
    for name, added in (
        ("backbone.bn1.weight", 1 if ema else 0),
        ("backbone.bn1.running_mean", 0),  # has no average
    ):
        array = published.state.array(published.names[name])
        np.testing.assert_array_equal(array, weights[name] + added)


def test_an_import_tells_of_the_averages(with_averages, tmp_path, capsys):
    kind, path, count = with_averages
    if kind != "mmcv":
        pytest.skip("one kind of file is enough")
    assert import_file(path, tmp_path / "run", flags=["--ema"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{count} moving averages (ema): taken instead of the")
    record = json.loads((tmp_path / "run" / "import.json").read_text())
    assert record["averages"] == {"count": count, "taken": True}
    assert record["num_tensors"] == 309


def test_show_tells_the_averages(with_averages, capsys):
    _, path, count = with_averages
    assert main(["weights", "show", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith(f"{count} moving averages (ema): ignored")
    assert lines[-1].startswith("Libra RetinaNet")
    assert main(["weights", "show", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_averages"] == count


def test_a_name_that_only_looks_like_an_average_is_left_over(tmp_path, capsys):
    weights = random_weights(detector_shapes("retinanet", classes=3, **SMALL))
    weights["ema_backbone_conv9_weight"] = weights["backbone.conv1.weight"]
    path = write_zip(tmp_path / "x.pth", ordered(weights))
    *lines, _ = refused(capsys, "import", path, "--out", tmp_path / "run")
    assert lines == ["left over: ema_backbone_conv9_weight"]


def test_averages_that_are_not_all_there_are_not_taken(small, tmp_path, capsys):
    (line,) = refused(capsys, "import", small, "--out", tmp_path / "run", "--ema")
    assert line.endswith("has no moving averages; leave out --ema")
    weights = random_weights(detector_shapes("retinanet", classes=3, **SMALL))
    names = [k for k in weights if "bn" not in k and not k.endswith("conv1.weight")]
    twins = {f"ema_{k.replace('.', '_')}": weights[k] for k in names}
    path = write_zip(tmp_path / "x.pth", ordered(weights | twins))
    (line,) = refused(capsys, "import", path, "--out", tmp_path / "run", "--ema")
    assert "weights have no moving average (backbone.conv1.weight, " in line
    assert not (tmp_path / "run").exists()
