"""TFRecords: Model Garden's own decoder reads back what went in."""

import io
import itertools

import numpy as np
import pytest
import tensorflow as tf
from official.vision.dataloaders.tf_example_decoder import TfExampleDecoder
from PIL import Image
from pycocotools import mask as coco_mask
from tolerances import NETWORK, assert_close

from libra_tf.data.example import (
    bytes_feature,
    encode_example,
    float_feature,
    int64_feature,
)
from libra_tf.data.masks import box_polygon
from libra_tf.data.records import Annotation, ImageRecord
from libra_tf.data.tfrecord import ShardWriter, make_example
from libra_tf.data.transcode import EncodedImage
from libra_tf.errors import UserError

# pycocotools against NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")

WIDTH, HEIGHT = 60, 40
NAMES = {1: "cat", 90: "Zahnbürste"}


def polygon_object(key=1):
    outline = [10.5, 5.0, 30.0, 8.0, 22.0, 33.3]
    return Annotation(key, 1, (10.5, 5.0, 19.5, 28.3), 250.5, False, [outline])


def crowd_object():
    truth = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    truth[3:20, 7:50:2] = 1
    runs = coco_mask.encode(truth)
    segmentation = {"size": [HEIGHT, WIDTH], "counts": runs["counts"].decode()}
    box = (7.0, 3.0, 43.0, 17.0)
    return Annotation(2, 90, box, float(truth.sum()), True, segmentation), truth


def encoded_image():
    pixels = np.random.default_rng(0).integers(256, size=(HEIGHT, WIDTH, 3))
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, format="PNG")
    return EncodedImage(buffer.getvalue(), "png"), pixels


def decode(*annotations, masks=True):
    encoded, _ = encoded_image()
    image = ImageRecord(123456789012, "dir/ä.png", WIDTH, HEIGHT, annotations)
    record = make_example(image, encoded, NAMES, masks)
    return record, TfExampleDecoder(include_mask=masks).decode(tf.constant(record))


def test_model_garden_reads_every_field():
    crowd, crowd_mask = crowd_object()
    _, tensors = decode(polygon_object(), crowd)
    np.testing.assert_array_equal(tensors["image"], encoded_image()[1])
    assert tensors["source_id"] == b"123456789012"
    assert (int(tensors["height"]), int(tensors["width"])) == (HEIGHT, WIDTH)
    scale = [HEIGHT, WIDTH] * 2
    assert_close(
        tensors["groundtruth_boxes"] * scale,
        [[5.0, 10.5, 33.3, 30.0], [3, 7, 20, 50]],
        of=NETWORK,
        scale=1.0,
    )
    np.testing.assert_array_equal(tensors["groundtruth_classes"], [1, 90])
    np.testing.assert_array_equal(tensors["groundtruth_is_crowd"], [False, True])
    np.testing.assert_array_equal(
        tensors["groundtruth_area"], [250.5, crowd_mask.sum()]
    )


def test_masks_are_those_of_coco():
    crowd, crowd_mask = crowd_object()
    annotation = polygon_object()
    _, tensors = decode(annotation, crowd)
    runs = coco_mask.frPyObjects(annotation.segmentation, HEIGHT, WIDTH)
    expected = np.stack([coco_mask.decode(runs)[..., 0], crowd_mask])
    assert expected[0].sum() > 200
    np.testing.assert_array_equal(tensors["groundtruth_instance_masks"], expected)


def test_box_masks_cover_whole_pixels_of_the_box():
    box = (10.0, 5.0, 20.0, 8.0)
    annotation = Annotation(1, 1, box, 160.0, False, box_polygon(box))
    _, tensors = decode(annotation)
    expected = np.zeros((1, HEIGHT, WIDTH))
    expected[:, 5:13, 10:30] = 1
    np.testing.assert_array_equal(tensors["groundtruth_instance_masks"], expected)


def test_image_without_objects():
    _, tensors = decode()
    assert tensors["groundtruth_boxes"].shape == (0, 4)
    assert tensors["groundtruth_classes"].shape == (0,)
    assert tensors["groundtruth_instance_masks"].shape == (0, HEIGHT, WIDTH)


def test_readable_fields_and_no_masks_unless_asked():
    record, _ = decode(polygon_object(), masks=False)
    features = tf.train.Example.FromString(record).features.feature
    assert features["image/filename"].bytes_list.value == ["dir/ä.png".encode()]
    assert features["image/format"].bytes_list.value == [b"png"]
    assert features["image/object/class/text"].bytes_list.value == [b"cat"]
    assert "image/object/mask" not in features


def test_boxes_never_pass_the_border_in_float():
    # 0.1 + (W - 0.1) exceeds W by one bit.
    box = (0.1, 0.1, WIDTH - 0.1 + 1e-12, HEIGHT - 0.1 + 1e-12)
    _, tensors = decode(Annotation(1, 1, box, 1.0), masks=False)
    assert float(tf.reduce_max(tensors["groundtruth_boxes"])) == 1.0


def test_broken_run_lengths_name_image_and_annotation():
    broken = {"size": [HEIGHT, WIDTH], "counts": [1, 2]}
    annotation = Annotation(55, 1, (0.0, 0.0, 5.0, 5.0), 25.0, False, broken)
    with pytest.raises(UserError, match=r"image 123456789012 .*annotation 55"):
        decode(annotation)


def test_example_bytes_are_protobuf():
    floats, ints = [0.1, -2.5, 3e38], [0, 1, 127, 128, -1, 2**63 - 1, -(2**63)]
    record = encode_example(
        {
            "long": bytes_feature([b"x" * 100_000, b""]),
            "floats": float_feature(floats),
            "ints": int64_feature(ints),
            "empty": float_feature([]),
            "naïve": int64_feature([5]),
        }
    )
    features = tf.train.Example.FromString(record).features.feature
    assert features["long"].bytes_list.value == [b"x" * 100_000, b""]
    np.testing.assert_array_equal(
        np.float32(features["floats"].float_list.value), np.float32(floats)
    )
    assert list(features["ints"].int64_list.value) == ints
    assert list(features["naïve"].int64_list.value) == [5]
    assert features["empty"].WhichOneof("kind") == "float_list"


def read_all(folder, split):
    files = sorted(str(path) for path in folder.glob(f"{split}-*.tfrecord"))
    return [[r.numpy() for r in tf.data.TFRecordDataset(file)] for file in files]


def write_split(folder, split, num_shards, records):
    with ShardWriter(folder, split, num_shards, len(records)) as writer:
        for record in records:
            writer.write(record)
        assert not list(folder.glob(f"{split}-*-of-{num_shards:05d}.tfrecord"))
        writer.publish()


def test_shards_are_even_and_in_order(tmp_path):
    records = [b"%d" % i for i in range(10)]
    write_split(tmp_path, "train", 3, records)
    shards = read_all(tmp_path, "train")
    assert list(itertools.chain(*shards)) == records
    assert [len(shard) for shard in shards] == [4, 3, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"train-0000{i}-of-00003.tfrecord" for i in range(3)
    ]


def test_older_shards_of_the_split_go_others_stay(tmp_path):
    write_split(tmp_path, "train", 4, [b"old"] * 8)
    write_split(tmp_path, "val", 1, [b"val"])
    (tmp_path / "train-notes.tfrecord").write_bytes(b"mine")
    write_split(tmp_path, "train", 2, [b"new"] * 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "train-00000-of-00002.tfrecord",
        "train-00001-of-00002.tfrecord",
        "train-notes.tfrecord",
        "val-00000-of-00001.tfrecord",
    ]


class Interrupt(Exception):
    """Stands for whatever ends a conversion."""


def interrupted_write(folder):
    with ShardWriter(folder, "train", 2, 4) as writer:
        for _ in range(3):
            writer.write(b"new")
        assert list(folder.glob(".train-*.tmp"))
        raise Interrupt


def test_unpublished_shards_leave_nothing(tmp_path):
    write_split(tmp_path, "train", 1, [b"old"])
    with pytest.raises(Interrupt):
        interrupted_write(tmp_path)
    assert read_all(tmp_path, "train") == [[b"old"]]
    assert len(list(tmp_path.iterdir())) == 1


def test_rest_of_a_killed_conversion_is_removed(tmp_path):
    (tmp_path / ".train-00007-of-00009.tfrecord.tmp").write_bytes(b"half")
    with ShardWriter(tmp_path, "train", 1, 1):
        assert list(tmp_path.iterdir()) == []  # At once: it may fill the disk.


def test_folder_that_cannot_be_written_is_named(tmp_path):
    with (
        ShardWriter(tmp_path / "gone", "train", 1, 1) as writer,
        pytest.raises(UserError, match=r"gone.*cannot write"),
    ):
        writer.write(b"x")
