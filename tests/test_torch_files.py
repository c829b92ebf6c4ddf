"""torch_files: tensors out of PyTorch files, and nothing else out of them."""

import contextlib
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from torch_files import (
    Call,
    Persistent,
    Raw,
    Tensor,
    ordered,
    write_stream,
    write_zip,
)

from libra_tf.errors import UserError
from libra_tf.torch_files import archive
from libra_tf.torch_files.file import open_torch_file
from libra_tf.torch_files.inert_values import Inert
from libra_tf.torch_files.state_dict import read_state_dict

WRITERS = [write_zip, write_stream]
ARRAY = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def refused(path, reader=read_state_dict):
    """The one line that a file is refused with."""
    with pytest.raises(UserError) as error:
        reader(path)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(str(path))
    return text.removeprefix(f"{path}: ")


@pytest.fixture(params=WRITERS, ids=["zip", "stream"])
def write(request):
    return request.param


@pytest.mark.parametrize(
    "dtype",
    ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8"],
)
def test_every_type_comes_back(tmp_path, write, dtype):
    array = np.array([[1, 2], [3, 100]], dtype)
    file = open_torch_file(write(tmp_path / "x.pth", {"a": array}))
    assert file.content["a"].type_name == dtype
    found = file.array(file.content["a"])
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype
    assert not found.flags.writeable


def test_bool(tmp_path, write):
    file = open_torch_file(write(tmp_path / "x.pth", {"a": np.array([True, False])}))
    assert file.array(file.content["a"]).tolist() == [True, False]


def test_bfloat16_is_widened(tmp_path, write):
    values = np.array([1.0, -2.5, 3e38, 0.0, np.inf], np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    path = write(tmp_path / "x.pth", {"a": Tensor(bits, type="bfloat16")})
    file = open_torch_file(path)
    assert file.content["a"].type_name == "bfloat16"
    expected = (bits.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(file.array(file.content["a"]), expected)


def test_strides_and_offsets(tmp_path, write):
    flat = np.arange(20, dtype=np.float32)
    tensors = {
        "transposed": Tensor(flat, shape=(4, 5), stride=(1, 4)),
        "part": Tensor(flat, key="0", offset=3, shape=(2, 2), stride=(8, 3)),
        "scalar": Tensor(flat, key="0", offset=7, shape=(), stride=()),
        "empty": Tensor(flat, key="0", offset=20, shape=(0, 3), stride=(3, 1)),
    }
    file = open_torch_file(write(tmp_path / "x.pth", tensors))
    arrays = {k: file.array(v) for k, v in file.content.items()}
    np.testing.assert_array_equal(arrays["transposed"], flat.reshape(5, 4).T)
    np.testing.assert_array_equal(arrays["part"], [[3, 6], [11, 14]])
    assert arrays["scalar"] == 7
    assert arrays["empty"].shape == (0, 3)


def test_parameters_are_tensors(tmp_path, write):
    value = Call("torch._utils._rebuild_parameter", (ARRAY, True, ordered({})))
    file = open_torch_file(write(tmp_path / "x.pth", {"a": value}))
    np.testing.assert_array_equal(file.array(file.content["a"]), ARRAY)


def test_plain_values_come_back(tmp_path, write):
    content = {
        "epoch": 12, "big": 2**70, "lr": 0.02, "names": ["a", ("b", None)],
        "flags": {"x": True, "y": False}, 3: "three", "text": "ä" * 300,
    }  # fmt: skip
    assert open_torch_file(write(tmp_path / "x.pth", content)).content == content


def test_a_file_of_pytorch_itself():
    folder = os.path.join(os.path.dirname(__file__), "golden")
    path = os.path.join(folder, "libra-faster-rcnn_r50_fpn_1x_coco.pth")
    state = read_state_dict(path)
    assert len(state.tensors) == 356
    assert state.meta == {"mmdet_version": "3.3.0"}
    kernel = state.array("backbone.conv1.weight")
    assert kernel.shape == (4, 3, 7, 7)
    assert 0.01 < kernel.std() < 1
    assert state.array("backbone.bn1.num_batches_tracked") == 4


def test_arrays_lie_in_the_file_and_are_not_copied(tmp_path, write):
    path = write(tmp_path / "x.pth", {"a": np.ones(5_000_000, np.float32)})
    tracemalloc.start()
    state = read_state_dict(path)
    assert state.array("a").size == 5_000_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_compressed_records(tmp_path):
    path = write_zip(tmp_path / "x.pth", {"a": ARRAY}, compression=zipfile.ZIP_DEFLATED)
    np.testing.assert_array_equal(read_state_dict(path).array("a"), ARRAY)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", None])
def test_a_state_dict_is_found(tmp_path, write, wrapper):
    weights = ordered({"a": ARRAY, "b": ARRAY[0]})
    content = {wrapper: weights, "meta": {"epoch": 1}} if wrapper else weights
    state = read_state_dict(write(tmp_path / "x.pth", content))
    assert list(state.tensors) == ["a", "b"]
    assert state.meta == ({"epoch": 1} if wrapper else {})
    np.testing.assert_array_equal(state.array("b"), ARRAY[0])


def test_unknown_objects_stay_inert(tmp_path, write):
    """What mmengine keeps beside the weights: histories, configs, random states."""
    history = Call("mmengine.logging.history_buffer.HistoryBuffer", (), {"_max": 10})
    config = Raw(b"cmmengine.config.config\nConfigDict\n)\x81}(X\1\0\0\0aK\1ub")
    reduced = Raw(b"cmmengine.config\nConfigDict\n)R(X\1\0\0\0aK\1u")
    listed = Raw(b"cx\nList\n)R(K\1K\2e")
    scalar = Call("numpy.core.multiarray.scalar", (Call("numpy.dtype", ("f8",)), "x"))
    content = {
        "state_dict": ordered({"a": ARRAY}),
        "meta": {
            "hooks": [history, config, reduced, listed], "value": scalar, "epoch": 3,
        },
    }  # fmt: skip
    state = read_state_dict(write(tmp_path / "x.pth", content))
    assert state.meta["epoch"] == 3
    assert all(isinstance(x, Inert) for x in state.meta["hooks"])
    assert state.meta["hooks"][0].name.endswith("history_buffer.HistoryBuffer")
    np.testing.assert_array_equal(state.array("a"), ARRAY)


HOSTILE = {
    "reduce": Call("os.system", ("touch {}",)),
    "builtin": Call("builtins.eval", ("open('{}', 'w')",)),
    "old name": Raw(b"c__builtin__\neval\n(X\1\0\0\0xtR"),
    "instance": Raw(b"(S'touch {}'\nios\nsystem\n"),
    "object": Raw(b"(cos\nsystem\nS'touch {}'\no"),
    "new object": Raw(b"csubprocess\nPopen\n(X\1\0\0\0xt\x81"),
    "getattr": Call("builtins.getattr", (Call("os.system", ("x",)), "y")),
    "nested": Call("collections.OrderedDict", ([["a", Call("os.system", ("x",))]],)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_nothing_is_executed_or_imported(tmp_path, write, kind, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError(f"called with {args}")

    monkeypatch.setattr(os, "system", forbidden)
    monkeypatch.setattr("builtins.eval", forbidden)
    monkeypatch.setattr("subprocess.Popen", forbidden)
    content = {"state_dict": ordered({"a": ARRAY}), "meta": HOSTILE[kind]}
    path = write(tmp_path / "x.pth", content)
    with monkeypatch.context() as patch:
        patch.setattr("builtins.__import__", _only_ours(patch))
        patch.setattr(pickle, "Unpickler", forbidden)
        state = read_state_dict(path)
    np.testing.assert_array_equal(state.array("a"), ARRAY)


def _only_ours(_):
    original = __import__

    def importing(name, *args, **kwargs):
        assert name.split(".")[0] not in ("os", "subprocess", "posix", "mmengine")
        return original(name, *args, **kwargs)

    return importing


def test_a_hostile_weight_is_named(tmp_path, write):
    content = {"state_dict": ordered({"a": ARRAY, "b": Call("os.system", ("x",))})}
    text = refused(write(tmp_path / "x.pth", content))
    assert text == "b is a os.system, not a plain tensor"


def test_a_hostile_file_in_whole(tmp_path, write):
    path = write(tmp_path / "x.pth", Call("os.system", ("touch x",)))
    assert refused(path).startswith("holds a os.system, not a state_dict")


def test_a_plain_pickle_is_no_checkpoint(tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(pickle.dumps({"a": 1}))
    assert refused(path) == (
        "not a readable PyTorch file: it starts as a pickle of something else; give a "
        "file that `torch.save` wrote, whole"
    )


@pytest.mark.parametrize(
    "content",
    [b"not a checkpoint", b"\0" * 100, b"\x80", b"\x80\x02]", b"<html>", b"."],
)
def test_another_kind_of_file(tmp_path, content):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    assert refused(path).startswith("not a readable PyTorch file: its start is damaged")


def test_an_empty_file_and_none(tmp_path):
    path = tmp_path / "x.pth"
    path.touch()
    assert refused(path) == "is empty"
    assert refused(tmp_path / "y.pth") == "cannot be read: No such file or directory"
    assert "cannot be read" in refused(tmp_path)


def test_every_cut_is_told(tmp_path, write):
    path = write(tmp_path / "x.pth", {"a": ARRAY, "b": ARRAY})
    data = path.read_bytes()
    for length in range(1, len(data), 13):
        path.write_bytes(data[:length])
        refused(path)


def test_a_flipped_byte_is_told_or_harmless(tmp_path, write):
    """What is still read are the numbers, but for the one whose byte was flipped.

    A stream has no checksums: its names, shapes and numbers may change unnoticed.
    """
    path = write(tmp_path / "x.pth", {"a": ARRAY})
    whole = path.read_bytes()
    start = whole.index(ARRAY.tobytes())
    read = 0
    for place in range(0, len(whole), 7):
        data = bytearray(whole)
        data[place] ^= 0xFF
        path.write_bytes(data)
        with contextlib.suppress(UserError):
            state = read_state_dict(path)
            found = {name: state.array(name) for name in state.tensors}
            read += 1
            if write is write_zip:
                assert list(found) == ["a"]
                np.testing.assert_array_equal(found["a"], ARRAY)
                continue
            stored = np.frombuffer(data[start : start + ARRAY.nbytes], np.float32)
            for array in found.values():
                assert np.isin(array.view(np.uint32), stored.view(np.uint32)).all()
            if start <= place < start + ARRAY.nbytes:
                # All the others, in their places.
                assert np.count_nonzero(found["a"] != ARRAY) == 1
    assert read > 0


def test_a_flipped_byte_in_the_numbers_of_a_zip(tmp_path):
    path = write_zip(tmp_path / "x.pth", {"a": ARRAY})
    data = path.read_bytes()
    path.write_bytes(data.replace(ARRAY.tobytes(), b"\1" + ARRAY.tobytes()[1:]))
    state = read_state_dict(path)
    with pytest.raises(UserError, match=r"a cannot be read: .*checksum is wrong"):
        state.array("a")


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        (Tensor(ARRAY, shape=(5, 5)), "reaches to element 24 of a storage of 24"),
        (Tensor(ARRAY, offset=1), "reaches to element 24 of a storage of 24"),
        (Tensor(ARRAY, shape=(2, 3), stride=(23, 1)), "reaches to element 25"),
        (Tensor(ARRAY, shape=(10**9,), stride=(0,)), "repeat those of a smaller"),
        (
            Tensor(ARRAY, type="ComplexFloatStorage"),
            "ComplexFloatStorage, is not",
        ),
    ],
)
def test_a_tensor_outside_of_its_storage(tmp_path, write, tensor, problem):
    if tensor.type and write is write_stream:
        pytest.skip("the place of what follows such a storage is unknown")
    text = refused(write(tmp_path / "x.pth", {"good": ARRAY, "bad": tensor}))
    assert text.startswith("bad cannot be read: ")
    assert problem in text


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor(ARRAY, offset=-1),
        Tensor(ARRAY, shape=(-2, 3)),
        Tensor(ARRAY, shape=(2, 3), stride=(-3, 1)),
        Tensor(ARRAY, shape=(2, 3), stride=(1,)),
        Tensor(ARRAY, shape=(2**60, 2**60), stride=(0, 0)),
        Tensor(ARRAY, shape=("x",), stride=(1,)),
    ],
)
def test_a_tensor_of_impossible_sizes(tmp_path, write, tensor):
    text = refused(write(tmp_path / "x.pth", {"a": tensor}))
    assert "not a readable PyTorch file" in text
    assert "a tensor " in text


@pytest.mark.parametrize(
    "shape",
    [
        Raw(b")" + b"2\x86" * 60),  # as long as 2**60 when shown
        Raw(b")" + b"\x85" * 200_000),  # deeper than Python's stack
        Raw(b"(" + b"K\x01" * 70 + b"t"),
        Raw(b"]"),
    ],
    ids=["wide", "deep", "many", "list"],
)
def test_shapes_that_cannot_be_shown(tmp_path, write, shape):
    kind = Raw(b"ctorch\nFloatStorage\n")
    stored = Persistent(("storage", kind, "0", "cpu", 1))
    call = Call("torch._utils._rebuild_tensor_v2", (stored, 0, shape, (1,), False))
    assert "not a readable" in refused(write(tmp_path / "x.pth", {"a": call}))


EMPTY = Tensor(ARRAY, shape=(2**20, 3, 0), stride=(0, 0, 1))


@pytest.mark.parametrize("part", ["state_dict", "ema_state_dict"])
def test_a_weight_without_numbers(tmp_path, write, part):
    """It could have any shape, of which a detector would be built."""
    content = {"state_dict": {"a": ARRAY}}
    content.setdefault(part, {})["b"] = EMPTY
    text = refused(write(tmp_path / "x.pth", content))
    assert text.startswith("b has the shape (1048576, 3, 0), which holds no numbers")


def test_weights_that_are_all_the_same_numbers(tmp_path, write):
    views = {f"w{i}": Tensor(ARRAY, key="0", shape=(24,)) for i in range(5)}
    text = refused(write(tmp_path / "x.pth", views))
    assert text.startswith("its 5 tensors tell of 120 numbers, but only 24 are stored")
    del views["w4"]
    assert len(read_state_dict(write(tmp_path / "y.pth", views)).tensors) == 4


def test_more_records_than_a_checkpoint_has(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "x.pth", {f"w{i}": ARRAY for i in range(20)})
    records = len(zipfile.ZipFile(path).namelist())
    monkeypatch.setattr(archive, "MAX_RECORDS", records)
    assert len(read_state_dict(path).tensors) == 20
    monkeypatch.setattr(archive, "MAX_RECORDS", records - 1)
    assert f"more than {records - 1} records" in refused(path)


def test_a_record_that_is_unpacked_again_and_again(tmp_path):
    """Tensors may share a storage, so each may ask for all of it."""
    weights = {
        "a": np.zeros(100_000, np.int8),
        "b": np.random.default_rng(0).bytes(9999),
    }
    weights["b"] = np.frombuffer(weights["b"], np.int8)
    path = write_zip(tmp_path / "x.pth", weights, compression=zipfile.ZIP_DEFLATED)
    state = read_state_dict(path)
    assert not state.array("a").any()

    def read_often():
        for _ in range(100):
            state.array("a")

    with pytest.raises(UserError, match="data/0 is unpacked again and again"):
        read_often()


def test_a_storage_of_another_size(tmp_path, write):
    path = write(tmp_path / "x.pth", {"a": Tensor(ARRAY, size=1000)})
    if write is write_zip:
        assert "record data/0 has 96 bytes, its description 4000" in refused(path)
    else:
        assert "storage 0 has 24 elements, its description 1000" in refused(path)


def test_a_missing_storage(tmp_path):
    path = write_zip(tmp_path / "x.pth", {"a": ARRAY}, records={"data/0": None})
    assert refused(path) == "a cannot be read: there is no record data/0"


@pytest.mark.parametrize("order", [b"big", b"", b"middle"])
def test_another_byte_order(tmp_path, order):
    path = write_zip(tmp_path / "x.pth", {"a": ARRAY}, records={"byteorder": order})
    assert "its byte order is" in refused(path)


def test_another_byte_order_of_old(tmp_path):
    path = write_stream(tmp_path / "x.pth", {"a": 1}, header={"little_endian": False})
    assert "its byte order is not 'little'" in refused(path)


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "archive/../../x", "a\\..\\b", "archive/a/.."]
)
def test_names_that_leave_the_archive(tmp_path, name):
    path = write_zip(tmp_path / "x.pth", {"a": ARRAY})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    assert "a record with the name" in refused(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_come_twice(tmp_path):
    path = write_zip(tmp_path / "x.pth", {"a": ARRAY})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data/0", b"y" * ARRAY.nbytes)
    assert "two records with the name" in refused(path)


def test_two_checkpoints_in_one(tmp_path):
    path = write_zip(tmp_path / "x.pth", {"a": ARRAY}, records={"b/data.pkl": b"N."})
    assert "2 records data.pkl" in refused(path)


def test_a_zip_of_something_else(tmp_path):
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")
    assert "0 records data.pkl" in refused(path)


def test_a_bomb(tmp_path):
    zeros = {"data/1": b"\0" * 50_000_000}
    path = write_zip(
        tmp_path / "x.pth",
        {"a": ARRAY},
        compression=zipfile.ZIP_DEFLATED,
        records=zeros,
    )
    assert "unpack to 50" in refused(path)


@pytest.mark.parametrize("told", [10, 1000])
def test_a_record_that_lies_about_its_size(tmp_path, told):
    """In the directory, where readers look first."""
    path = write_zip(
        tmp_path / "x.pth",
        {"a": Tensor(np.zeros(1000, np.int8), size=told, shape=(told,))},
        compression=zipfile.ZIP_DEFLATED,
    )
    data = bytearray(path.read_bytes())
    place = data.index(b"archive/data/0", data.index(b"PK\1\2")) - 46
    data[place + 24 : place + 28] = struct.pack("<I", told)
    data[place + 16 : place + 20] = struct.pack("<I", 0)
    path.write_bytes(data)
    state = read_state_dict(path)
    if told == 1000:
        assert not state.array("a").any()
        return
    with pytest.raises(UserError, match="does not have the size that it tells"):
        state.array("a")


def test_a_directory_that_points_elsewhere(tmp_path):
    path = write_zip(tmp_path / "x.pth", {"a": ARRAY})
    data = bytearray(path.read_bytes())
    place = data.index(b"archive/data/0", data.index(b"PK\1\2")) - 46
    data[place + 42 : place + 46] = struct.pack("<I", 0)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"data/0 is not where the archive says"):
        read_state_dict(path).array("a")


def test_an_encrypted_record(tmp_path):
    path = write_zip(tmp_path / "x.pth", {"a": ARRAY})
    data = bytearray(path.read_bytes())
    place = data.index(b"archive/data.pkl", data.index(b"PK\1\2")) - 46
    data[place + 8] |= 1
    path.write_bytes(data)
    assert "record data.pkl is encrypted" in refused(path)


def test_no_state_dict(tmp_path, write):
    text = refused(write(tmp_path / "x.pth", {"epoch": 1, "optimizer": {}}))
    assert text == "no state_dict in it; it holds 'epoch', 'optimizer'"
    assert refused(write(tmp_path / "y.pth", [1, 2])) == "holds a list, no state_dict"
    assert "it holds nothing" in refused(write(tmp_path / "z.pth", {}))


def test_a_key_that_is_no_text(tmp_path, write):
    text = refused(write(tmp_path / "x.pth", {"a": ARRAY, 3: ARRAY}))
    assert text == "the state_dict has a key that is not plain text"


@pytest.mark.parametrize("name", ["a\nlibra: fine", "a\x1b[2J", "a" * 10_000])
def test_a_key_that_would_show_as_something_else(tmp_path, write, name):
    text = refused(write(tmp_path / "x.pth", {name: ARRAY}))
    assert text == "the state_dict has a key that is not plain text"


@pytest.mark.parametrize(
    "code",
    [
        b"(((((",  # marks only
        b"}(K\1u",  # a key without value
        b"K\1K\2s",  # set in a number
        b"]K\1K\2b",
        b"h\5",  # a memo that is not there
        b"\x82\1",  # an extension
        b"t",  # a tuple without mark
        b"R",
        b"\x97",  # a buffer out of band
        b"I" + b"9" * 10_000 + b"\n",
    ],
)
def test_a_malformed_pickle(tmp_path, write, code):
    path = write(tmp_path / "x.pth", Raw(code))
    assert "not a readable PyTorch file" in refused(path) or "no state_dict" in (
        refused(path)
    )


def test_nested_tuples_as_keys_take_no_time(tmp_path, write):
    """Their hash doubles the work with every level."""
    code = b"N" + b"2\x86" * 200
    path = write(tmp_path / "x.pth", {"a": ARRAY, "x": Raw(b"}" + code + b"K\1s")})
    assert "x is a dict, not a plain tensor" in refused(path)


def test_a_pickle_that_claims_gigabytes(tmp_path, write):
    path = write(tmp_path / "x.pth", Raw(b"\x8d" + struct.pack("<Q", 2**40)))
    assert "not a readable PyTorch file" in refused(path)
