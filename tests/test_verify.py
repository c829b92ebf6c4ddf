"""data.verify: every fault of a converted folder, by file and record."""

import json
import struct

import pytest
import small_sets
import tensorflow as tf
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from libra_tf.commands.main import main
from libra_tf.data.record_reader import Damage, RecordFault, read_records


@pytest.fixture
def folder(tmp_path):
    """Three pictures in one shard, as they are converted."""
    path = small_sets.write(tmp_path, small_sets.coco(tmp_path))
    words = ["--images", tmp_path, "--annotations", path, "--split", "val"]
    words += ["--out", tmp_path / "out", "--workers", 1]
    assert main(["data", "convert", *map(str, words)]) == 0
    return tmp_path / "out"


def shard(folder):
    return next(folder.glob("*.tfrecord"))


def offsets(path):
    """Where the records begin, and where the last ends."""
    data, found = path.read_bytes(), [0]
    while found[-1] < len(data):
        (length,) = struct.unpack_from("<Q", data, found[-1])
        found.append(found[-1] + 16 + length)
    return found


def verify(folder, capsys):
    """Returns exit code and the faults as (name of the file, record, text)."""
    capsys.readouterr()
    code = main(["data", "verify", str(folder), "--json"])
    (split,) = json.loads(capsys.readouterr().out)["splits"].values()
    faults = split["faults"]
    return code, [(f["file"].split("/")[-1], f["record"], f["text"]) for f in faults]


def test_a_good_folder_has_no_faults(folder, capsys):
    assert verify(folder, capsys) == (0, [])
    assert main(["data", "verify", str(folder)]) == 0
    assert "val: 1 files, 3 records, 6 objects, 0 faults" in capsys.readouterr().out


def test_a_changed_byte_is_one_record_and_the_others_are_read(folder, capsys):
    path = shard(folder)
    data = bytearray(path.read_bytes())
    data[offsets(path)[1] + 40] ^= 1
    path.write_bytes(data)
    code, faults = verify(folder, capsys)
    assert code == 2
    assert faults[0] == (path.name, 1, "its checksum is wrong")
    assert [text for *_, text in faults[1:]] == [
        "4 objects, but dataset.json tells of 6 objects",
        "1 images have no record that can be read: 2",
    ]
    assert main(["data", "verify", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert f"  {path}: record 1: its checksum is wrong\n" in out
    assert err.splitlines()[-1].startswith(f"libra: error: {folder}: 3 faults")


@pytest.mark.parametrize(
    ("spoil", "record", "text"),
    [
        (lambda data, at: data[:-5], 2, "cut short, or its length is damaged"),
        (lambda data, at: data[: at[1] + 5], 1, "cut short, or its length is damaged"),
        (
            lambda data, at: data[: at[1]] + b"\xff" * 12 + data[at[1] + 12 :],
            1,
            "no record after it can be read",
        ),
        (lambda data, at: b"<html>not found</html>", 0, "the file is no TFRecord file"),
        (lambda data, at: b"\x1f\x8b" + data, 0, "compressed; unpack it"),
    ],
)
def test_files_that_end_or_are_no_records(folder, capsys, spoil, record, text):
    path = shard(folder)
    path.write_bytes(spoil(path.read_bytes(), offsets(path)))
    code, faults = verify(folder, capsys)
    assert code == 2
    assert faults[0][:2] == (path.name, record)
    assert text in faults[0][2]


def rewrite(path, change):
    """Writes the shard again with the features of its first record changed."""
    records = [content for _, content in read_records(str(path))]
    example = tf.train.Example.FromString(records[0])
    change(example.features.feature)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in (example.SerializeToString(), *records[1:]):
            writer.write(content)


def replaced(name, kind, *values):
    def change(features):
        getattr(features[name], kind).value[:] = values

    return change


LABELS = "image/object/class/label"


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        (replaced(LABELS, "int64_list", 1, 9), ["object 2: class 9 is not among"]),
        (replaced(LABELS, "int64_list", 0, 1), ["object 1: class 0 is not among"]),
        (replaced(LABELS, "int64_list", 1), ["1 labels, but 2 boxes", "1 objects"]),
        (
            replaced("image/object/bbox/xmax", "float_list", 0.5, 1.5),
            ["object 2: [", "is no box"],
        ),
        (
            replaced("image/object/bbox/ymin", "float_list", float("nan"), 0.1),
            ["object 1: [nan"],
        ),
        (replaced("image/encoded", "bytes_list", b"\xff\xd8\xff"), ["be decoded"]),
        (replaced("image/encoded", "bytes_list"), ["has no picture"]),
        (replaced("image/height", "int64_list", 31), ["is 40x30, but it says 40x31"]),
        (replaced("image/source_id", "bytes_list", b"3"), ["occurs twice"]),
        (replaced("image/source_id", "bytes_list", b"77"), ["not among the images"]),
    ],
)
def test_what_is_wrong_with_a_record_is_said(folder, capsys, change, texts):
    rewrite(shard(folder), change)
    code, faults = verify(folder, capsys)
    assert code == 2
    said = "; ".join(text for *_, text in faults)
    for text in texts:
        assert text in said


def test_a_picture_that_is_cut_within_is_decoded(folder, capsys):
    def cut(features):
        values = features["image/encoded"].bytes_list.value
        values[:] = [values[0][:-20]]

    rewrite(shard(folder), cut)
    code, faults = verify(folder, capsys)
    assert (code, faults[0][1]) == (2, 0)
    assert "its picture cannot be decoded" in faults[0][2]


def test_records_that_are_no_examples(folder, capsys):
    path = shard(folder)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in (b"\xff\xff", b"{}"):
            writer.write(content)
    _, faults = verify(folder, capsys)
    assert (path.name, 0, "it is no tf.train.Example") in faults
    assert (f"{path.name[:4]}*.tfrecord", None,
            "2 records, but dataset.json tells of 3 images") in faults  # fmt: skip


def test_an_empty_file_has_no_records(tmp_path):
    (tmp_path / "a").touch()
    assert list(read_records(str(tmp_path / "a"))) == []


def test_a_fault_names_file_and_record():
    assert str(RecordFault("a", 3, "bad")) == "a: record 3: bad"
    assert str(RecordFault("a", None, "bad")) == "a: bad"


def write_records(path, *contents):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in contents:
            writer.write(content)
    return offsets(path)


def test_records_behind_several_damaged_ones_are_read(tmp_path):
    path = tmp_path / "a"
    begins = write_records(path, b"one", b"two", b"three", b"four")
    data = bytearray(path.read_bytes())
    for begin in begins[1:3]:
        data[begin + 12] ^= 1
    path.write_bytes(data)
    found = [content for _, content in read_records(str(path))]
    assert (found[0], found[3]) == (b"one", b"four")
    assert [fault.damage for fault in found[1:3]] == [Damage.CONTENT] * 2


def test_a_length_that_is_a_little_less_is_damage_of_the_length(tmp_path):
    """The file has room for it; what would follow is no record."""
    path = tmp_path / "a"
    _, second, *_ = write_records(path, b"one", b"second", b"three")
    data = bytearray(path.read_bytes())
    data[second] -= 1
    path.write_bytes(data)
    (_, first), (_, fault) = read_records(str(path))
    assert first == b"one"
    assert (fault.record, fault.damage) == (1, Damage.LENGTH)


@pytest.mark.parametrize("length", [2**40, 2**63, 2**64 - 16])
def test_a_length_that_no_memory_has_is_refused(tmp_path, length):
    """TensorFlow's reader ends the process there: its checksum is right."""
    path = tmp_path / "a"
    write_records(path, b"one")
    header = struct.pack("<Q", length)
    header += struct.pack("<I", masked_crc32c(header))
    path.write_bytes(path.read_bytes() + header + b"two")
    (_, first), (_, fault) = read_records(str(path))
    assert first == b"one"
    assert (fault.record, fault.damage) == (1, Damage.TORN)
