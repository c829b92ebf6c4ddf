"""A tensor in a PyTorch file: where its numbers lie, and how they become an array."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from libra_tf.torch_files.budget import Budget
from libra_tf.torch_files.inert_values import (
    Global,
    Inert,
    PickleError,
    as_key,
    key_cost,
)

# Storage class of PyTorch: the type's name, and that of the bytes in the file. numpy
# knows no bfloat16: its bits are the upper half of a float32.
STORAGES = {
    "torch DoubleStorage": ("float64", "<f8"),
    "torch FloatStorage": ("float32", "<f4"),
    "torch HalfStorage": ("float16", "<f2"),
    "torch BFloat16Storage": ("bfloat16", "<u2"),
    "torch LongStorage": ("int64", "<i8"),
    "torch IntStorage": ("int32", "<i4"),
    "torch ShortStorage": ("int16", "<i2"),
    "torch CharStorage": ("int8", "<i1"),
    "torch ByteStorage": ("uint8", "<u1"),
    "torch BoolStorage": ("bool", "|b1"),
}

# More than a file holds, and few enough that numpy can count the bytes.
MAX_SIZE = 2**48
MAX_AXES = 32
_KEY_SIZE = 100  # characters; PyTorch's are numbers


@dataclasses.dataclass(frozen=True)
class Storage:
    """A run of numbers in a file: `size` elements of a type, by the key of its record.

    `kind` is the name of PyTorch's class; one that is not in `STORAGES` (complex or
    quantised numbers) cannot be read.
    """

    kind: str
    key: str
    size: int

    @property
    def type_name(self) -> str:
        """Type of the elements; PyTorch's class for one that cannot be read."""
        return STORAGES[self.kind][0] if self.kind in STORAGES else self.kind

    @property
    def item_type(self) -> np.dtype:
        """Type of the bytes in the file; KeyError for one that cannot be read."""
        return np.dtype(STORAGES[self.kind][1])

    @property
    def num_bytes(self) -> int:
        """Bytes in the file; KeyError for a type that cannot be read."""
        return self.size * self.item_type.itemsize


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor whose numbers are still in the file.

    Attributes:
        storage: the numbers, which tensors may share.
        offset: of the first element, in elements.
        shape: sizes.
        stride: steps, in elements.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def type_name(self) -> str:
        """Type of the elements, such as "float32"."""
        return self.storage.type_name

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def problem(self) -> str | None:
        """What is wrong with this description, or None; the file is not touched."""
        if self.storage.kind not in STORAGES:
            return f"its type, {self.storage.kind.replace(' ', '.')}, is not supported"
        if self.size == 0:
            return None
        last = self.offset + sum(
            (n - 1) * step for n, step in zip(self.shape, self.stride, strict=True)
        )
        if last >= self.storage.size:
            return (
                f"it reaches to element {last} of a storage of {self.storage.size} "
                "elements"
            )
        if self.size > self.storage.size:
            return f"its {self.size} elements repeat those of a smaller storage"
        return None

    def view(self, elements: np.ndarray) -> np.ndarray:
        """Returns the array, [*shape]; of bfloat16 a copy as float32.

        Args:
            elements: [storage.size], the storage's numbers.
        """
        item = elements.itemsize
        array = np.lib.stride_tricks.as_strided(
            elements[self.offset :] if self.size else elements[:0],
            self.shape,
            [step * item for step in self.stride],
            writeable=False,
        )
        if self.type_name == "bfloat16":
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array


def rebuild_tensor(
    budget: Budget, storage: Any, offset: Any, shape: Any, stride: Any, *_: Any
) -> StoredTensor:
    """What stands for `torch._utils._rebuild_tensor_v2`."""
    if not isinstance(storage, Storage):
        raise PickleError("a tensor without storage")
    sizes = (shape, stride)
    # No value is shown: it may be nested without end.
    if not all(isinstance(x, tuple) and len(x) <= MAX_AXES for x in sizes):
        raise PickleError("a tensor whose shape and stride are no sizes")
    numbers = (offset, *shape, *stride)
    if len(shape) != len(stride) or not all(_is_size(n) for n in numbers):
        raise PickleError("a tensor whose shape, stride and offset do not fit")
    budget.spend(len(numbers))
    if math.prod(max(n, 1) for n in shape) >= MAX_SIZE:
        raise PickleError("a tensor of more numbers than a file can have")
    return StoredTensor(storage, offset, tuple(shape), tuple(stride))


def _is_size(value: Any) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and 0 <= value < MAX_SIZE


def rebuild_storage(identity: Any) -> Storage:
    """What stands for the persistent id of a storage.

    Args:
        identity: ("storage", class, key, device, number of elements), and in old files
            a view, which PyTorch has not written since 0.4.
    """
    fields = identity if isinstance(identity, tuple) else ()
    if len(fields) not in (5, 6) or fields[0] != "storage":
        raise PickleError("a persistent object that is no storage")
    _, kind, key, _, size, *view = fields
    if not isinstance(kind, Global) or not isinstance(key, str) or not _is_size(size):
        raise PickleError("a storage without class, key or size")
    if len(key) > _KEY_SIZE or not key.isprintable():
        raise PickleError("a storage whose key is not plain text")
    if any(part is not None for part in view):
        raise PickleError(f"storage {key} is a view of another")
    return Storage(kind.name, key, size)


def _first(_budget: Budget, value: Any, *_: Any) -> Any:
    return value


def _ordered_dict(budget: Budget, items: Any = ()) -> Any:
    """What stands for `collections.OrderedDict`: of a dict or of pairs."""
    if isinstance(items, Inert):
        return items
    if not isinstance(items, dict | list | tuple):
        raise PickleError("an ordered dict of no pairs")
    content = {}
    for pair in items.items() if isinstance(items, dict) else items:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise PickleError("an ordered dict of no pairs")
        key, value = pair
        budget.spend(1 + key_cost(key))
        content[as_key(key)] = value
    return content


CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "collections OrderedDict": _ordered_dict,
    "torch._utils _rebuild_tensor_v2": rebuild_tensor,
    "torch._utils _rebuild_parameter": _first,
    "torch._utils _rebuild_parameter_with_state": _first,
}
