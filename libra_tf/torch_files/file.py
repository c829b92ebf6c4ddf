"""Reads what `torch.save` wrote, without PyTorch and without running anything.

    file = open_torch_file("resnet50.pth")
    tensor = file.content["conv1.weight"]  # a `StoredTensor`
    array = file.array(tensor)

Both formats are read: zip archives (PyTorch 1.6 and later), and the stream of pickles
and numbers before that, which many published checkpoints still are. The file is mapped
into memory; the numbers of a tensor are touched when its array is used.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import Any

import numpy as np

from libra_tf.errors import UserError
from libra_tf.torch_files.archive import Archive, ArchiveError
from libra_tf.torch_files.budget import Budget
from libra_tf.torch_files.inert_pickle import read_pickle
from libra_tf.torch_files.inert_values import PickleError
from libra_tf.torch_files.tensor import (
    CONSTRUCTORS,
    Storage,
    StoredTensor,
    rebuild_storage,
)

# What the old format starts with, and its only version.
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
_SIZE = struct.Struct("<q")


class TorchFile:
    """A checkpoint file.

    Attributes:
        path: of the file.
        content: what was saved: dicts, lists, numbers and text as they are, tensors as
            `StoredTensor`, any other object as `Inert`.
    """

    def __init__(self, path: str, content: Any, container: Any):
        self.path, self.content, self._container = path, content, container

    def array(self, tensor: StoredTensor, name: str = "a tensor") -> np.ndarray:
        """Returns the numbers of a tensor, [*shape]; read-only, of bfloat16 float32.

        Args:
            tensor: of `content`.
            name: of the tensor, for messages.

        Raises:
            UserError: its numbers are not all there.
        """
        self.check(tensor, name)
        try:
            return tensor.view(self._container.elements(tensor.storage))
        except ArchiveError as error:
            raise self._unreadable(name, error) from error

    def check(self, tensor: StoredTensor, name: str) -> None:
        """Raises `UserError` unless the file has what `tensor` describes."""
        problem = tensor.problem()
        if problem:
            raise self._unreadable(name, problem)
        try:
            self._container.check(tensor.storage)
        except ArchiveError as error:
            raise self._unreadable(name, error) from error

    def _unreadable(self, name: str, problem: object) -> UserError:
        return UserError(f"{self.path}: {name} cannot be read: {problem}")


def open_torch_file(path: str | os.PathLike) -> TorchFile:
    """Opens a file that `torch.save` wrote.

    Raises:
        UserError: there is no such file, or it is damaged or of another kind.
    """
    path = os.fspath(path)
    try:
        with open(path, "rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError as error:
        raise UserError(f"{path}: is empty") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        container = _Zip(path, data) if data[:2] == b"PK" else _Stream(data)
        return TorchFile(path, container.content, container)
    except (ArchiveError, PickleError) as error:
        raise UserError(
            f"{path}: not a readable PyTorch file: {error}; give a file that "
            "`torch.save` wrote, whole"
        ) from error


class _Zip:
    """data.pkl, and the numbers of each storage in data/KEY."""

    def __init__(self, path: str, data: mmap.mmap):
        self._archive = Archive(path, data)
        order = bytes(self._archive.read("byteorder", default=b"little")).strip()
        if order != b"little":
            raise ArchiveError(f"its byte order is {order[:20]!r}, not 'little'")
        pickle = self._archive.read("data.pkl")
        self.content = read_pickle(
            bytes(pickle), CONSTRUCTORS, rebuild_storage, Budget(len(data))
        )

    def check(self, storage: Storage) -> None:
        self._archive.check(f"data/{storage.key}", storage.num_bytes)

    def elements(self, storage: Storage) -> np.ndarray:
        data = self._archive.read(f"data/{storage.key}", size=storage.num_bytes)
        return np.frombuffer(data, storage.item_type)


class _Stream:
    """The format before PyTorch 1.6.

    Three pickles about the file, one with the content, one with the storages' keys;
    then for each storage its number of elements, and these.
    """

    def __init__(self, data: mmap.mmap):
        self._data, self._budget = data, Budget(len(data))
        if self._pickle("its start") != _MAGIC:
            raise PickleError("it starts as a pickle of something else")
        if self._pickle("its version") != _VERSION:
            raise PickleError("it is of an unknown version")
        system = self._pickle("its header")
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise PickleError("its byte order is not 'little'")
        self._storages: dict[str, Storage] = {}
        self.content = self._pickle("its content")
        keys = self._pickle("its list of storages")
        self._places = self._find(keys)

    def _pickle(self, part: str) -> Any:
        try:
            return read_pickle(self._data, CONSTRUCTORS, self._storage, self._budget)
        except PickleError as error:
            raise PickleError(f"{part} is damaged, or no pickle ({error})") from error

    def _storage(self, identity: Any) -> Storage:
        storage = rebuild_storage(identity)
        if self._storages.setdefault(storage.key, storage) != storage:
            raise PickleError(f"storage {storage.key} is described twice")
        return storage

    def _find(self, keys: Any) -> dict[str, int]:
        """The position of each storage's first byte."""
        known = sorted(self._storages)
        is_list = isinstance(keys, list) and all(isinstance(k, str) for k in keys)
        if not is_list or sorted(keys) != known:
            raise PickleError("its list of storages does not fit its content")
        places, position = {}, self._data.tell()
        for key in keys:
            storage = self._storages[key]
            if position + _SIZE.size > len(self._data):
                raise PickleError(f"it ends before storage {key}")
            (size,) = _SIZE.unpack_from(self._data, position)
            if size != storage.size:
                raise PickleError(
                    f"storage {key} has {size} elements, its description {storage.size}"
                )
            places[key] = position + _SIZE.size
            position = places[key] + _num_bytes(storage)
        if position > len(self._data):
            missing = position - len(self._data)
            raise PickleError(f"it is cut short: {missing} bytes are missing")
        return places

    def check(self, storage: Storage) -> None:
        """Nothing to do: all storages were found when the file was opened."""

    def elements(self, storage: Storage) -> np.ndarray:
        place = self._places[storage.key]
        return np.frombuffer(self._data, storage.item_type, storage.size, place)


def _num_bytes(storage: Storage) -> int:
    try:
        return storage.num_bytes
    except KeyError as error:
        raise PickleError(f"storage {storage.key} is a {storage.kind}") from error
