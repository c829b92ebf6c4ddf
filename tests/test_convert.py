"""Conversion of a split: complete or not at all, equal from run to run."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from official.vision.dataloaders.tf_example_decoder import TfExampleDecoder
from PIL import Image
from pycocotools.coco import COCO
from tolerances import NETWORK, assert_close

from libra_tf.data import manifest
from libra_tf.data.coco import read_coco
from libra_tf.data.convert import convert
from libra_tf.data.layout import layout_sources
from libra_tf.data.manifest import load_manifest
from libra_tf.data.synthesize import synthesize
from libra_tf.data.workers import map_in_order
from libra_tf.errors import UserError

# pycocotools against NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Twelve small pictures for training, three for evaluation."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    synthesize(folder, num_train=12, num_val=3, size=64)
    return folder


def sources(folder):
    return {name: (data, images) for name, data, images in layout_sources(folder)}


def run(folder, out, split="train", dataset=None, **options):
    data, images = sources(folder)[split]
    return convert(dataset or data, images, out, split, quiet=True, **options)


def decoded(pattern, masks=True):
    files = sorted(tf.io.gfile.glob(pattern))
    records = tf.data.TFRecordDataset(files)
    return [TfExampleDecoder(include_mask=masks).decode(record) for record in records]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_evaluation_file_describes_exactly_the_records(shapes, tmp_path):
    run(shapes, tmp_path, num_shards=3)
    files = load_manifest(tmp_path).split("train")
    coco = COCO(files.annotation_file)
    examples = decoded(files.tfrecords)
    assert sorted(int(e["source_id"].numpy()) for e in examples) == coco.getImgIds()
    for example in examples:
        key = int(example["source_id"].numpy())
        objects = coco.loadAnns(coco.getAnnIds([key]))
        x, y, w, h = np.array([o["bbox"] for o in objects]).T
        assert_close(
            example["groundtruth_boxes"] * 64.0,
            np.stack([y, x, y + h, x + w], axis=-1),
            of=NETWORK,
            scale=1.0,
        )
        np.testing.assert_array_equal(
            example["groundtruth_classes"], [o["category_id"] for o in objects]
        )
        np.testing.assert_array_equal(
            example["groundtruth_instance_masks"],
            [coco.annToMask(o) for o in objects],
        )


def test_manifest_entry(shapes, tmp_path):
    entry = run(shapes, tmp_path, num_shards=2)
    content = json.loads((tmp_path / "dataset.json").read_text())
    assert content["splits"]["train"] == entry
    assert content["num_classes"] == 4
    assert entry["image_sizes"] == {"width": [64] * 3, "height": [64] * 3}
    assert (entry["num_images"], entry["num_shards"], entry["masks"]) == (12, 2, True)


@pytest.mark.parametrize("workers", [1, 2])
def test_equal_input_gives_equal_files(shapes, tmp_path, workers):
    run(shapes, tmp_path / "a", num_shards=3)
    run(shapes, tmp_path / "b", num_shards=3, workers=workers)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_training_images_are_mixed_evaluation_images_are_not(shapes, tmp_path):
    for split in ("train", "val"):
        run(shapes, tmp_path, split)

    def order(split):
        pattern = str(tmp_path / f"{split}-*")
        return [int(e["source_id"].numpy()) for e in decoded(pattern, masks=False)]

    assert order("val") == [1, 2, 3]
    mixed = order("train")
    assert mixed != sorted(mixed)
    assert sorted(mixed) == list(range(1, 13))
    run(shapes, tmp_path, shuffle_seed=1)
    assert order("train") != mixed
    run(shapes, tmp_path, shuffle=False)
    assert order("train") == sorted(mixed)


def test_sparse_ids_give_one_class_per_id_up_to_the_highest(shapes, tmp_path):
    data = sources(shapes)["train"][0]
    far = replace(data.categories[-1], id=90)
    images = tuple(
        replace(
            image,
            annotations=tuple(
                replace(a, category_id=90 if a.category_id == 3 else a.category_id)
                for a in image.annotations
            ),
        )
        for image in data.images
    )
    data = replace(data, categories=(*data.categories[:-1], far), images=images)
    run(shapes, tmp_path, dataset=data)
    loaded = load_manifest(tmp_path)
    assert loaded.num_classes == 91
    assert loaded.class_names == {1: "rectangle", 2: "ellipse", 90: "triangle"}


def with_first_box(data, bbox):
    first = data.images[0]
    changed = (replace(first.annotations[0], bbox=bbox), *first.annotations[1:])
    images = (replace(first, annotations=changed), *data.images[1:])
    return replace(data, images=images)


def test_clipped_and_dropped_boxes_are_counted_and_told(shapes, tmp_path, capsys):
    data, images = sources(shapes)["val"]
    total = sum(len(image.annotations) for image in data.images)
    broken = with_first_box(data, (5.0, 5.0, 0.0, 5.0))
    entry = convert(broken, images, tmp_path, "val")
    assert entry["num_annotations"] == total - 1
    assert entry["findings"]["dropped"] == {"count": 1, "first": [1]}
    err = capsys.readouterr().err
    assert "val: 3/3 images" in err
    assert "1 box had no area inside the image and was dropped" in err
    written = json.loads((tmp_path / "val.json").read_text())["annotations"]
    assert 1 not in [a["id"] for a in written]
    entry = run(shapes, tmp_path, "val", with_first_box(data, (60.0, 5.0, 9.0, 5.0)))
    assert entry["findings"]["clipped"]["count"] == 1


def test_strict_writes_nothing(shapes, tmp_path):
    data = with_first_box(sources(shapes)["val"][0], (60.0, 5.0, 9.0, 5.0))
    with pytest.raises(UserError, match="--strict"):
        run(shapes, tmp_path, "val", data, strict=True)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_image_leaves_the_older_files(shapes, tmp_path, workers):
    run(shapes, tmp_path)
    before = contents(tmp_path)
    data = sources(shapes)["train"][0]
    wrong = (*data.images[:-1], replace(data.images[-1], width=65))
    with pytest.raises(UserError, match=r"image 12: .*000012\.jpg.*64x64.*65x64"):
        run(shapes, tmp_path, dataset=replace(data, images=wrong), workers=workers)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["../../train/000001.jpg", "/etc/hostname"])
def test_file_names_cannot_leave_the_image_folder(shapes, tmp_path, name):
    data = sources(shapes)["val"][0]
    image = replace(data.images[0], file_name=name)
    with pytest.raises(UserError, match="inside the image folder"):
        run(shapes, tmp_path, "val", replace(data, images=(image,)))
    assert contents(tmp_path) == {}


def test_fewer_shards_replace_more(shapes, tmp_path):
    run(shapes, tmp_path, num_shards=4)
    run(shapes, tmp_path, num_shards=2)
    assert len(list(tmp_path.glob("train-*"))) == 2
    assert load_manifest(tmp_path).split("train").num_shards == 2


def test_there_are_never_more_shards_than_images(shapes, tmp_path):
    assert run(shapes, tmp_path, "val", num_shards=50)["num_shards"] == 3


def test_split_with_other_categories_is_refused(shapes, tmp_path):
    run(shapes, tmp_path)
    data = sources(shapes)["val"][0]
    renamed = replace(data.categories[0], name="square")
    other = replace(data, categories=(renamed, *data.categories[1:]))
    with pytest.raises(UserError, match="split val has other categories than train"):
        run(shapes, tmp_path, "val", other)
    assert list(load_manifest(tmp_path).splits) == ["train"]
    run(shapes, tmp_path / "own", "val", other)
    run(shapes, tmp_path / "own", "val")  # The only split may change its categories.


@pytest.mark.parametrize("split", ["", "train-extra", "../x", "a b", "a*"])
def test_odd_split_names_are_refused(shapes, tmp_path, split):
    data, images = sources(shapes)["val"]
    with pytest.raises(UserError, match="letters, digits and _"):
        convert(data, images, tmp_path, split, quiet=True)


def test_no_images_is_an_error(shapes, tmp_path):
    data = replace(sources(shapes)["val"][0], images=())
    with pytest.raises(UserError, match="no images"):
        run(shapes, tmp_path, "val", data)


def test_masks_can_be_left_out_and_made_up(shapes, tmp_path):
    assert run(shapes, tmp_path, "val", masks=False)["masks"] is False
    assert "segmentation" not in (tmp_path / "val.json").read_text()
    data = read_coco(tmp_path / "val.json")
    entry = run(shapes, tmp_path, "val", data, masks=True)
    assert entry["findings"]["box_masks"]["count"] == entry["num_annotations"]
    example = decoded(str(tmp_path / "val-*"))[0]
    masks, boxes = example["groundtruth_instance_masks"], example["groundtruth_boxes"]
    assert masks.shape[0] == boxes.shape[0]


def test_failure_while_publishing_withdraws_the_split(shapes, tmp_path, monkeypatch):
    for split in ("train", "val"):
        run(shapes, tmp_path, split)

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(manifest, "add_split", fail)
    with pytest.raises(KeyboardInterrupt):
        run(shapes, tmp_path)
    assert list(load_manifest(tmp_path).splits) == ["val"]


PROGRAM = "import sys; from libra_tf.commands.main import main; sys.exit(main())"


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
def test_interruption_shows_no_half_files(shapes, tmp_path, signal_number):
    content = json.loads((shapes / "annotations/instances_train.json").read_text())
    first = content["images"][0]
    content["images"] = [{**first, "id": i} for i in range(1, 12_001)]
    big = tmp_path / "big.json"
    big.write_text(json.dumps(content))
    out = tmp_path / "out"
    words = ["data", "convert", "--images", shapes / "images/train", "--annotations"]
    words += [big, "--split", "train", "--out", out, "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, words)],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    while not list(out.glob(".train-*.tmp")):
        assert process.poll() is None
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    workers = children.read_text().split() if children.exists() else []
    assert len(workers) >= 2 or not children.exists()
    if signal_number == signal.SIGINT:
        os.killpg(process.pid, signal_number)
    else:
        process.kill()
    _, err = process.communicate(timeout=30)
    assert not list(out.glob("train*"))
    assert not (out / "dataset.json").exists()
    if signal_number == signal.SIGINT:
        assert process.returncode == 130
        assert err.decode().splitlines()[-1] == "libra: interrupted"
        assert b"Traceback" not in err
        assert not out.exists()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_keep_their_order_and_items_are_taken_late(workers):
    taken = []

    def items():
        for number in range(200):
            taken.append(number)
            yield number

    results = map_in_order(math.sqrt, items(), workers)
    assert next(results) == 0.0
    assert len(taken) < 50
    assert list(results) == [math.sqrt(number) for number in range(1, 200)]


def test_error_of_a_worker_arrives():
    with pytest.raises(ValueError, match=r"domain|nonnegative"):
        list(map_in_order(math.sqrt, [3, 2, 1, 0, -1], 2))


def test_transcoded_and_plain_images_side_by_side(tmp_path):
    images = []
    for key, name in enumerate(("a.png", "b.bmp", "c.webp", "d.gif", "e.jpg"), 1):
        Image.new("RGB", (20, 10), (200, 100, 50)).save(tmp_path / name)
        images.append({"id": key, "file_name": name, "width": 20, "height": 10})
    content = {"images": images, "annotations": [], "categories": [{"id": 1}]}
    content["categories"][0]["name"] = "x"
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    convert(read_coco(path), tmp_path, tmp_path / "out", "val", quiet=True)
    for example in decoded(str(tmp_path / "out" / "val-*"), masks=False):
        difference = np.abs(example["image"].numpy() - [200.0, 100.0, 50.0])
        assert difference.max() <= 4


@pytest.mark.skipif("LIBRA_BCCD" not in os.environ, reason="set LIBRA_BCCD")
def test_real_data(tmp_path):
    folder = Path(os.environ["LIBRA_BCCD"])
    for split, data, images in layout_sources(folder):
        convert(data, images, tmp_path, split, workers=2, quiet=True, strict=True)
    loaded = load_manifest(tmp_path)
    for name, files in loaded.splits.items():
        original = read_coco(folder / "annotations" / f"instances_{name}.json")
        assert read_coco(files.annotation_file).images == original.images
        assert len(decoded(files.tfrecords, masks=False)) == files.num_images
