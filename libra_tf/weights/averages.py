"""Moving averages that mmdetection keeps beside the weights.

mmcv (mmdetection 2) has a buffer for each parameter, named `ema_` and the parameter's
name with `_` for the dots. mmengine (mmdetection 3) has a dict of its own under
`ema_state_dict`, whose names begin with `module.`. Which of the two a detector was
evaluated with stands under the plain names: both programs exchange the numbers before
they save at an epoch's end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from libra_tf.errors import UserError
from libra_tf.torch_files.state_dict import StateDict
from libra_tf.weights.names import COUNTERS, PREFIXES, common_prefix

_MARK = "ema_"
# Buffers, which mmcv averages only if asked to, and of which it evaluates the own.
_BUFFERS = (".running_mean", ".running_var", COUNTERS)
_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Averages:
    """Moving averages in a file.

    Attributes:
        count: how many there are.
        taken: whether they are read instead of the weights beside them.
    """

    count: int = 0
    taken: bool = False

    def __str__(self) -> str:
        what = "taken instead of" if self.taken else "ignored; --ema takes them for"
        return f"{self.count} moving averages (ema): {what} the weights beside them"


def choose_averages(state: StateDict, ema: bool) -> tuple[StateDict, Averages]:
    """Returns one tensor for each weight, under its plain name.

    Args:
        state: what the file holds.
        ema: take the averages where there are some, else leave them out.

    Raises:
        UserError: with `ema`, there are none, or parameters without one.
    """
    twins = find_twins(state.tensors)
    apart = _averages_apart(state)
    tensors = {
        name: tensor
        for name, tensor in state.tensors.items()
        if name not in twins.values()
    }
    averages = {name: state.tensors[twin] for name, twin in twins.items()} | apart
    if ema:
        _check_all_there(state.path, list(tensors), averages)
        tensors |= averages
    return dataclasses.replace(state, tensors=tensors), Averages(len(averages), ema)


def find_twins(names: Iterable[str]) -> dict[str, str]:
    """Returns the names of averages by the names of their weights, as mmcv has them."""
    names = dict.fromkeys(names)
    return {name: twin for name in names for twin in _twin_names(name) if twin in names}


def _twin_names(name: str) -> Iterator[str]:
    """What mmcv calls a weight's average; it may have been wrapped before or after."""
    prefix = ""
    while True:
        rest = name.removeprefix(prefix)
        yield prefix + _MARK + rest.replace(".", "_")
        further = next((p for p in PREFIXES if rest.startswith(p)), None)
        if further is None:
            return
        prefix += further


def _averages_apart(state: StateDict) -> dict:
    """Those under a key of their own, by the names of their weights."""
    plain = common_prefix(list(state.tensors))
    # "steps" counts them.
    prefix = common_prefix([name for name in state.averages if "." in name])
    found = {name.removeprefix(prefix): t for name, t in state.averages.items()}
    return {
        name: found[name.removeprefix(plain)]
        for name in state.tensors
        if name.removeprefix(plain) in found
    }


def _check_all_there(path: str, names: list[str], averages: dict) -> None:
    if not averages:
        raise UserError(f"{path}: has no moving averages; leave out --ema")
    missing = [n for n in names if n not in averages and not n.endswith(_BUFFERS)]
    if missing:
        more = ", ..." if len(missing) > _SHOWN else ""
        raise UserError(
            f"{path}: {len(missing)} weights have no moving average "
            f"({', '.join(missing[:_SHOWN])}{more}); leave out --ema"
        )
