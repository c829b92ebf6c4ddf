"""Writes what `torch.save` writes, without PyTorch, and what it would never write."""

from __future__ import annotations

import dataclasses
import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

STORAGES = {
    "float64": "DoubleStorage", "float32": "FloatStorage", "float16": "HalfStorage",
    "int64": "LongStorage", "int32": "IntStorage", "int16": "ShortStorage",
    "int8": "CharStorage", "uint8": "ByteStorage", "bool": "BoolStorage",
    "bfloat16": "BFloat16Storage",
}  # fmt: skip


@dataclasses.dataclass
class Call:
    """An object that a function makes, and perhaps its state."""

    name: str
    arguments: tuple = ()
    state: Any = None


@dataclasses.dataclass
class Raw:
    """Instructions of the pickle machine."""

    code: bytes


@dataclasses.dataclass
class Persistent:
    """An object outside of the pickle."""

    value: Any


@dataclasses.dataclass
class Tensor:
    """A tensor over a flat array; by default the whole of it, in its shape."""

    array: np.ndarray
    key: str = ""
    offset: int = 0
    shape: tuple | None = None
    stride: tuple | None = None
    type: str = ""
    size: int | None = None  # that the pickle tells of the storage


class Pickler:
    """Turns values into a pickle of protocol 2 and collects the storages."""

    def __init__(self):
        self.storages: dict[str, np.ndarray] = {}

    def dumps(self, value: Any) -> bytes:
        return b"\x80\x02" + self.code(value) + b"."

    def code(self, value: Any) -> bytes:
        if isinstance(value, np.ndarray):
            value = Tensor(value)
        method = getattr(self, f"_{type(value).__name__.lower()}")
        return method(value)

    def _nonetype(self, _):
        return b"N"

    def _bool(self, value):
        return b"\x88" if value else b"\x89"

    def _int(self, value):
        if -(2**31) <= value < 2**31:
            return b"J" + struct.pack("<i", value)
        data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(data)]) + data

    def _float(self, value):
        return b"G" + struct.pack(">d", value)

    def _str(self, value):
        data = value.encode()
        return b"X" + struct.pack("<I", len(data)) + data

    def _list(self, value):
        return b"](" + b"".join(map(self.code, value)) + b"e"

    def _tuple(self, value):
        return b"(" + b"".join(map(self.code, value)) + b"t"

    def _dict(self, value):
        items = (self.code(k) + self.code(v) for k, v in value.items())
        return b"}(" + b"".join(items) + b"u"

    def _raw(self, value):
        return value.code

    def _call(self, value):
        module, _, name = value.name.rpartition(".")
        code = f"c{module}\n{name}\n".encode() + self._tuple(value.arguments) + b"R"
        return code + (
            self.code(value.state) + b"b" if value.state is not None else b""
        )

    def _persistent(self, value):
        return self.code(value.value) + b"Q"

    def _tensor(self, tensor):
        array = np.asarray(tensor.array)
        shape = array.shape if tensor.shape is None else tensor.shape
        stride = tensor.stride
        if stride is None:
            stride = [int(np.prod(shape[k + 1 :])) for k in range(len(shape))]
        key = tensor.key or str(len(self.storages))
        kind = STORAGES.get(tensor.type or array.dtype.name, tensor.type)
        self.storages[key] = array
        size = array.size if tensor.size is None else tensor.size
        storage = Persistent(
            ("storage", Raw(f"ctorch\n{kind}\n".encode()), key, "cpu", size)
        )
        hooks = Call("collections.OrderedDict")
        arguments = (storage, tensor.offset, tuple(shape), tuple(stride), False, hooks)
        return self._call(Call("torch._utils._rebuild_tensor_v2", arguments))


def ordered(items: dict) -> Call:
    """An `OrderedDict` as `state_dict()` gives it, with its `_metadata`."""
    pairs = [list(item) for item in items.items()]
    return Call(
        "collections.OrderedDict", (pairs,), {"_metadata": {"": {"version": 1}}}
    )


def write_zip(
    path: Path,
    content: Any,
    *,
    compression: int = zipfile.ZIP_STORED,
    records: dict[str, bytes | None] | None = None,
    folder: str = "archive",
) -> Path:
    """Writes the form of PyTorch 1.6 and later.

    Args:
        path: of the file.
        content: numbers, text, dicts, lists, arrays and the classes of this module.
        compression: of all records.
        records: further records, or others in the place of the usual ones; None
            removes.
        folder: that all records lie in.
    """
    pickler = Pickler()
    entries = {"data.pkl": pickler.dumps(content), "byteorder": b"little"}
    for key, array in pickler.storages.items():
        entries[f"data/{key}"] = np.ascontiguousarray(array).tobytes()
    entries |= {"version": b"3\n"} | (records or {})
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            if data is not None:
                archive.writestr(f"{folder}/{name}" if folder else name, data)
    return path


def write_stream(path: Path, content: Any, *, header: dict | None = None) -> Path:
    """Writes the form before PyTorch 1.6."""
    pickler = Pickler()
    data = pickler.dumps(content)
    header = header or {
        "protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4},
    }  # fmt: skip
    file = io.BytesIO()
    file.write(Pickler().dumps(0x1950A86A20F9469CFC6C))
    file.write(Pickler().dumps(1001))
    file.write(Pickler().dumps(header))
    file.write(data)
    file.write(Pickler().dumps(list(pickler.storages)))
    for array in pickler.storages.values():
        file.write(struct.pack("<q", array.size))
        file.write(np.ascontiguousarray(array).tobytes())
    path.write_bytes(file.getvalue())
    return path
