"""Weights of a file beside the variables of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from libra_tf.errors import UserError
from libra_tf.torch_files.state_dict import StateDict
from libra_tf.weights.class_names import place_classes, shape_in_file
from libra_tf.weights.slots import Slot

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_SHOWN = 3
_VARIANCE = ".running_var"


class MismatchError(UserError):
    """Weights that do not fit a model; `lines` has one for each of them."""

    def __init__(self, text: str, lines: Sequence[str]):
        more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        super().__init__(f"{text}: {'; '.join(lines[:_SHOWN])}{more}")
        self.lines = tuple(lines)


@dataclasses.dataclass(frozen=True)
class Match:
    """A weight and the variable that it sets.

    Attributes:
        name: in the file.
        shape: in the file.
        ours: mmdetection's name.
        slot: where it goes.
    """

    name: str
    shape: tuple[int, ...]
    ours: str
    slot: Slot


def match_weights(
    state: StateDict,
    names: Mapping[str, str],
    slots: Mapping[str, Slot],
    what: str,
    class_ids: Sequence[int] = (),
) -> list[Match]:
    """Returns which weight sets which variable, in the order of `slots`.

    Args:
        state: the weights.
        names: name in the file by mmdetection's.
        slots: variables by mmdetection's name.
        what: the model, for messages.
        class_ids: of the classes in the file, see `place_classes`.

    Raises:
        MismatchError: weights are missing, left over, or of another shape or type; all
            are listed.
    """
    wanted = {
        ours: shape_in_file(ours, tuple(slot.shape), class_ids)
        for ours, slot in slots.items()
    }
    check_shapes(state, names, wanted, what)
    return [
        Match(names[ours], wanted[ours], ours, slot) for ours, slot in slots.items()
    ]


def check_shapes(
    state: StateDict,
    names: Mapping[str, str],
    wanted: Mapping[str, tuple[int, ...]],
    what: str,
) -> None:
    """Raises `MismatchError` unless a file has weights of just these shapes.

    Args:
        state: the weights.
        names: name in the file by mmdetection's.
        wanted: shapes by mmdetection's name.
        what: the model, for messages.
    """
    lines = [f"missing: {ours}" for ours in wanted if ours not in names]
    lines += [
        f"left over: {name}" for ours, name in names.items() if ours not in wanted
    ]
    for ours, shape in wanted.items():
        if ours not in names:
            continue
        name = names[ours]
        tensor = state.tensors[name]
        if tensor.type_name not in _FLOATS:
            lines.append(f"wrong type: {name} is {tensor.type_name}")
        elif tensor.shape != shape:
            lines.append(f"wrong shape: {name} {tensor.shape}, expected {shape}")
    if lines:
        raise MismatchError(f"{state.path}: does not fit {what}", lines)


def assign_weights(
    state: StateDict, matches: Iterable[Match], class_ids: Sequence[int] = ()
) -> None:
    """Sets the variables, one after the other; see `match_weights`.

    Raises:
        MismatchError: weights are not finite, or variances negative; all are listed.
        UserError: a weight cannot be read.
    """
    lines = []
    for match in matches:
        array: np.ndarray = state.array(match.name).astype(np.float32, copy=False)
        if not np.isfinite(array).all():
            lines.append(f"not finite: {match.name}")
        elif match.ours.endswith(_VARIANCE) and (array < 0).any():
            lines.append(f"negative: {match.name}")
        array = place_classes(match.ours, array, class_ids)
        match.slot.variable.assign(match.slot.transform(array))
    if lines:
        raise MismatchError(f"{state.path}: has values that no detector has", lines)
