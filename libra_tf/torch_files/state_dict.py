"""The named tensors of a PyTorch checkpoint, whatever they are wrapped in."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from libra_tf.errors import UserError
from libra_tf.torch_files.file import TorchFile, open_torch_file
from libra_tf.torch_files.inert_values import Inert
from libra_tf.torch_files.tensor import StoredTensor

# Under which key training programs keep the weights, in order of preference.
WRAPPERS = ("state_dict", "model", "module")
AVERAGES = "ema_state_dict"
_SHOWN = 5  # keys in a message
_SHOWN_SIZE = 40  # characters of each
_NAME_SIZE = 500  # characters of a weight's name
# Weights that are tied share their numbers, and a flat buffer may stand beside them.
_MOST_SHARED = 4


@dataclasses.dataclass(frozen=True)
class StateDict:
    """Weights by name, still in their file.

    Attributes:
        file: where they are.
        tensors: by the name in the file.
        meta: what was saved beside the weights under "meta"; empty without it.
        averages: tensors that mmengine keeps beside them, by the name in the file.
    """

    file: TorchFile
    tensors: Mapping[str, StoredTensor]
    meta: Mapping[str, Any]
    averages: Mapping[str, StoredTensor] = dataclasses.field(default_factory=dict)

    @property
    def path(self) -> str:
        """Of the file."""
        return self.file.path

    def array(self, name: str) -> np.ndarray:
        """Returns a tensor's numbers, see `TorchFile.array`."""
        return self.file.array(self.tensors[name], name)


def read_state_dict(path: str | os.PathLike) -> StateDict:
    """Reads a checkpoint that is a state_dict, or has one under one of `WRAPPERS`.

    Raises:
        UserError: the file cannot be read, or holds no state_dict.
    """
    file = open_torch_file(path)
    content = file.content
    if isinstance(content, Inert):
        raise UserError(
            f"{file.path}: holds a {content.name}, not a state_dict; save "
            "model.state_dict() in PyTorch"
        )
    if not isinstance(content, dict):
        raise UserError(f"{file.path}: holds a {type(content).__name__}, no state_dict")
    meta = content.get("meta")
    return StateDict(
        file, _tensors(file), meta if isinstance(meta, dict) else {}, _averages(file)
    )


def _shown(key: str) -> str:
    return ascii(key[:_SHOWN_SIZE]) + ("..." if len(key) > _SHOWN_SIZE else "")


def _tensors(file: TorchFile) -> dict[str, StoredTensor]:
    content = file.content
    found = next((content[k] for k in WRAPPERS if _has_tensors(content.get(k))), None)
    found = content if found is None else found
    if not _has_tensors(found):
        keys = [key for key in content if isinstance(key, str)][:_SHOWN]
        held = ", ".join(map(_shown, keys)) or "nothing"
        raise UserError(f"{file.path}: no state_dict in it; it holds {held}")
    for name, value in found.items():
        _check(file, name, value)
    _check_shared(file, found.values())
    return found


def _check_shared(file: TorchFile, tensors: Iterable[StoredTensor]) -> None:
    """Refuses a file whose tensors all show the same few numbers."""
    tensors = list(tensors)
    told = sum(tensor.size for tensor in tensors)
    stored = sum({t.storage.key: t.storage.size for t in tensors}.values())
    if told > _MOST_SHARED * stored:
        raise UserError(
            f"{file.path}: its {len(tensors)} tensors tell of {told} numbers, but only "
            f"{stored} are stored; save model.state_dict() in PyTorch again"
        )


def _averages(file: TorchFile) -> dict[str, StoredTensor]:
    found = file.content.get(AVERAGES)
    averages = {
        name: value
        for name, value in (found.items() if isinstance(found, dict) else ())
        if isinstance(value, StoredTensor)
    }
    for name, value in averages.items():
        _check(file, name, value)
    return averages


def _has_tensors(value: Any) -> bool:
    return isinstance(value, dict) and any(
        isinstance(v, StoredTensor) for v in value.values()
    )


def _check(file: TorchFile, name: Any, value: Any) -> None:
    is_text = isinstance(name, str) and name.isprintable()
    if not is_text or len(name) > _NAME_SIZE:
        raise UserError(f"{file.path}: the state_dict has a key that is not plain text")
    if not isinstance(value, StoredTensor):
        kind = value.name if isinstance(value, Inert) else type(value).__name__
        raise UserError(f"{file.path}: {name} is a {kind}, not a plain tensor")
    if value.size == 0:
        raise UserError(
            f"{file.path}: {name} has the shape {value.shape}, which holds no numbers; "
            "no detector has such a weight"
        )
    file.check(value, name)
