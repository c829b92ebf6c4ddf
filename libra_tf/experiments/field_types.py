"""Refuses settings of another kind than declared, such as `num_gpus: two`.

Model Garden takes any value from YAML, where 1e-3 (without a point) is text.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from typing import Any

from official.modeling import hyperparams

from libra_tf.errors import UserError

_PLAIN = {bool: bool, int: int, float: (int, float), str: str}
_UNIONS = (typing.Union, types.UnionType)
_LISTS = (list, tuple, Sequence)


def check_types(config: hyperparams.Config, path: str = "") -> None:
    """Raises `UserError` for the first setting below `config` of a wrong kind."""
    if isinstance(config, hyperparams.OneOfConfig):
        _check_choice(config, path)
    for field, annotation in type(config)._get_annotations().items():
        value, name = getattr(config, field, None), f"{path}{field}"
        # `a.b=` means an empty text; Model Garden itself leaves some numbers unset.
        may_be_unset = _fits("", annotation) or (
            annotation in _PLAIN and getattr(type(config), field, 0) is None
        )
        unset = value is None and may_be_unset
        if not unset and not _fits(value, annotation):
            raise UserError(
                f"{name} is {value!r}; it must be of type {_describe(annotation)}"
            )
        if isinstance(value, hyperparams.Config):
            check_types(value, f"{name}.")


def _check_choice(config: hyperparams.OneOfConfig, path: str) -> None:
    choices = [k for k in vars(config) if k not in (*config.RESERVED_ATTR, "type")]
    if config.type is not None and config.type not in choices:
        raise UserError(
            f"{path}type is {config.type!r}; choose {', '.join(sorted(choices))}"
        )


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
