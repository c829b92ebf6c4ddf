"""inputs.check_records: bad data are named before a model is built, or when met."""

from types import SimpleNamespace

import pytest
import small_sets
import tensorflow as tf
import tiny

from libra_tf.commands.main import main
from libra_tf.data.record_reader import read_records
from libra_tf.errors import UserError
from libra_tf.experiments.saved import override
from libra_tf.inputs.check_records import check_records
from libra_tf.inputs.data_errors import named_data_errors
from libra_tf.training import runner

LABELS = "image/object/class/label"


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """The records of three pictures, as bytes."""
    folder = tmp_path_factory.mktemp("set")
    path = small_sets.write(folder, small_sets.coco(folder))
    words = ["--images", folder, "--annotations", path, "--split", "val"]
    words += ["--out", folder / "out", "--workers", 1]
    assert main(["data", "convert", *map(str, words)]) == 0
    (shard,) = (folder / "out").glob("*.tfrecord")
    return [content for _, content in read_records(str(shard))]


def write(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return str(path)


def changed(record, **features):
    example = tf.train.Example.FromString(record)
    for name, values in features.items():
        feature = example.features.feature[name.replace("_", "/")]
        kind = "int64_list" if isinstance(values[0], int) else "bytes_list"
        getattr(feature, kind).value[:] = values
    return example.SerializeToString()


def params_of(path, num_classes=3):
    data = SimpleNamespace(input_path=path)
    task = SimpleNamespace(
        train_data=data,
        validation_data=SimpleNamespace(input_path=""),
        model=SimpleNamespace(num_classes=num_classes),
    )
    return SimpleNamespace(task=task)


def check(path, num_classes=3):
    return check_records(params_of(path, num_classes), ["train_data"])


def refusal(path, num_classes=3):
    with pytest.raises(UserError) as error:
        check(path, num_classes)
    text = str(error.value)
    assert "\n" not in text
    return text


def test_good_records_pass(tmp_path, records):
    path = write(tmp_path / "a", records)
    assert check(path) == check([path]) == check(f"{tmp_path}/*") == []
    assert check("") == []


def test_labels_without_an_output_are_refused(tmp_path, records):
    for label in (0, 3, 999):
        bad = changed(records[1], image_object_class_label=[label, 1])
        path = write(tmp_path / "a", [records[0], bad])
        text = refusal(path)
        assert text.startswith(f"{path}: record 1 (source id '2'): class {label}, but ")
        assert "task.model.num_classes is 3" in text


def test_files_that_are_not_there_or_empty(tmp_path, records):
    missing = f"{tmp_path}/*.tfrecord"
    expected = f"task.train_data.input_path: no file matches {missing}"
    assert refusal(missing).startswith(expected)
    assert "no file matches /gone" in refusal("/gone")
    write(tmp_path / "a.tfrecord", [])
    assert f"0 examples in {missing} (1 files, all empty)" in refusal(missing)
    write(tmp_path / "b.tfrecord", records)
    assert check(missing) == [f"0 examples in {tmp_path}/a.tfrecord, of 2 files"]


def test_the_first_records_are_read_to_their_checksums(tmp_path, records):
    path = tmp_path / "a"
    write(path, records)
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data)
    assert refusal(str(path)).startswith(f"{path}: record 2: its checksum is wrong")


def iterate(path, decode):
    """Reads as a training does."""
    with named_data_errors(params_of(path)):
        dataset = tf.data.TFRecordDataset(path)
        for _ in dataset.map(decode):
            pass


def decode_picture(record):
    spec = {"image/encoded": tf.io.FixedLenFeature([], tf.string)}
    example = tf.io.parse_single_example(record, spec)
    return tf.io.decode_image(example["image/encoded"], expand_animations=False)


def test_a_damaged_record_is_named_when_it_is_met(tmp_path, records):
    path = tmp_path / "a"
    write(path, records)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"^{path}: record 1: its checksum is wrong"):
        iterate(str(path), tf.identity)


def test_a_damaged_picture_is_named_when_it_is_met(tmp_path, records):
    encoded = tf.train.Example.FromString(records[2]).features.feature["image/encoded"]
    (picture,) = encoded.bytes_list.value
    bad = changed(records[2], image_encoded=[picture[:-30]])
    path = write(tmp_path / "a", [*records[:2], bad])
    with pytest.raises(UserError) as error:
        iterate(path, decode_picture)
    assert str(error.value).startswith(f"{path}: record 2: image 3: its picture cannot")
    assert "\n" not in str(error.value)


def test_errors_of_other_kinds_stay_what_they_are(tmp_path, records):
    with pytest.raises(tf.errors.InvalidArgumentError):
        iterate(write(tmp_path / "a", records), lambda _: tf.strings.to_number("x"))


def test_a_run_is_refused_before_its_model_is_built(tmp_path, records, monkeypatch):
    def get_task(*_, **__):
        raise AssertionError("a model would be built")

    monkeypatch.setattr(runner.task_factory, "get_task", get_task)
    bad = changed(records[0], image_object_class_label=[7, 1])
    data = {"input_path": write(tmp_path / "a", [bad])}
    params = tiny.experiment("libra_retinanet_resnetfpn_coco")
    task = {"model": {"num_classes": 3}, "train_data": data, "validation_data": data}
    override(params, {"task": task}, "test")
    out = tmp_path / "run"
    with pytest.raises(UserError, match=r"record 0 \(source id '1'\): class 7"):
        runner.run(params, "train", str(out))
    assert not out.exists()
