"""One walk over all settings: their types, ranges and choices.

Model Garden takes any value from YAML, where 1e-3 (without a point) is text.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from official.modeling import hyperparams

from libra_tf.errors import UserError
from libra_tf.experiments.inherited import inherited_limits
from libra_tf.setting import Limits, limits_of

_PLAIN: dict[type, Any] = {bool: bool, int: int, float: (int, float), str: str}
_UNIONS = (typing.Union, types.UnionType)
_LISTS = (list, tuple, Sequence)
_SHOWN = 80  # characters of a value
# Of a number without an upper bound of its own: int32, and what float32 can square.
_MOST = {int: 2**31 - 1, float: 1e12}


class Field(NamedTuple):
    """A setting in its place.

    Attributes:
        path: "task.losses.box.beta".
        owner: class of the section that it is in.
        name: "beta".
        annotation: its type.
        value: what it is set to.
        limits: what it may be.
    """

    path: str
    owner: type
    name: str
    annotation: Any
    value: Any
    limits: Limits

    @property
    def kind(self) -> str:
        """Its type in words."""
        return _describe(self.annotation)

    @property
    def is_section(self) -> bool:
        """Whether it holds other settings."""
        return isinstance(self.value, hyperparams.Config)


def walk(
    config: hyperparams.Config, path: str = "", chosen_only: bool = False
) -> Iterator[Field]:
    """Yields every setting below `config`, each section before what is in it.

    Args:
        config: an experiment, or a section of one.
        path: of the section, with a point at the end.
        chosen_only: leave out the alternatives that are not chosen: of backbones,
            decoders, optimizers and the like, all but the one that `type` names.
    """
    one_of = isinstance(config, hyperparams.OneOfConfig)
    owner = type(config)
    for name, annotation in owner._get_annotations().items():
        if chosen_only and one_of and name not in ("type", config.type):
            continue
        value, place = getattr(config, name, None), f"{path}{name}"
        limits = limits_of(owner, name)
        if limits == Limits() and not isinstance(value, hyperparams.Config | dict):
            limits = inherited_limits(place, name)
        if name == "type" and one_of:
            reserved = (*config.RESERVED_ATTR, "type")
            parts = sorted(k for k in vars(config) if k not in reserved)
            limits = Limits(choices=tuple(parts) if value is not None else ())
        yield Field(place, owner, name, annotation, value, limits)
        if isinstance(value, hyperparams.Config):
            yield from walk(value, f"{place}.", chosen_only)


def check_fields(config: hyperparams.Config) -> None:
    """Raises `UserError` for the first setting of a wrong type, range or choice.

    A number that has no upper bound of its own is finite and not beyond `_MOST`.
    Alternatives that are not chosen are left out, since an experiment is saved without
    them. Sections that another setting switches off (`task.model.canvas` in the form
    "model_garden", settings of a loss that `type` does not name) are checked: their
    defaults pass, and a wrong value there is a slip that would show only when they are
    switched on.
    """
    for field in walk(config, chosen_only=True):
        check_field(field)


def check_field(field: Field) -> None:
    """Raises `UserError` for a setting of a wrong type, range or choice."""
    if not _has_type(field):
        what = f"it must be of type {field.kind}"
    elif not field.limits.allow(field.value):
        what = field.limits.advice()
    elif (most := _exceeded(field)) is not None:
        what = f"it must be in [-{most}, {most}]"
    else:
        return
    raise UserError(f"{field.path} is {_shown(field.value)}; {what}")


def _exceeded(field: Field) -> float | None:
    """The bound that a number without upper bound of its own is beyond, or None."""
    types = plain_types(field.annotation)
    most = _MOST.get(float if float in types else int)
    if field.limits.high is not None or field.limits.choices or most is None:
        return None
    entries = field.value if isinstance(field.value, list | tuple) else [field.value]
    numbers = [x for x in entries if isinstance(x, int | float)]
    return None if all(abs(x) <= most for x in numbers) else most  # NaN is beyond


def _shown(value: Any) -> str:
    """A value in one line of a screen."""
    try:
        text = repr(value)
    except ValueError:  # too many digits
        return "a huge number"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _has_type(field: Field) -> bool:
    # `a.b=` means an empty text; Model Garden itself leaves some numbers unset.
    may_be_unset = _fits("", field.annotation) or (
        field.annotation in _PLAIN and getattr(field.owner, field.name, 0) is None
    )
    unset = field.value is None and may_be_unset
    return unset or _fits(field.value, field.annotation)


def _fits(value: Any, annotation: Any) -> bool:
    if annotation in _PLAIN:
        if isinstance(value, bool):
            return annotation is bool
        return isinstance(value, _PLAIN[annotation])
    arguments, origin = typing.get_args(annotation), typing.get_origin(annotation)
    if origin in _UNIONS:
        return any(_fits(value, each) for each in arguments)
    if origin in _LISTS:
        is_list = isinstance(value, list | tuple)
        return is_list and all(_fits(each, arguments[0]) for each in value)
    if isinstance(annotation, type):
        if issubclass(annotation, hyperparams.Config):
            return isinstance(value, hyperparams.Config)
        return isinstance(value, annotation)
    return True


@functools.cache
def plain_types(annotation: Any) -> frozenset[type]:
    """Returns the plain types that a value, or an entry of a list, may have."""
    if annotation in _PLAIN:
        return frozenset([annotation])
    return frozenset().union(*map(plain_types, typing.get_args(annotation)))


def _describe(annotation: Any) -> str:
    arguments, origin = typing.get_args(annotation), typing.get_origin(annotation)
    if origin in _UNIONS:
        return " or ".join(_describe(each) for each in arguments)
    if origin in _LISTS:
        return f"list of {_describe(arguments[0])}"
    if annotation is type(None):
        return "null"
    is_config = issubclass(annotation, hyperparams.Config)
    return "mapping" if is_config else annotation.__name__
