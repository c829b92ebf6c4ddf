"""Experiments from names, files and overrides, and back to text."""

from __future__ import annotations

import datetime
import difflib
import os
from collections.abc import Sequence
from typing import Any, TextIO

import yaml
from official.core import exp_factory

import libra_tf.experiments
from libra_tf.errors import UserError
from libra_tf.experiments.fields import check_fields
from libra_tf.experiments.numbers import with_numbers
from libra_tf.experiments.stock import is_libra_experiment

# The settings of a run, in its folder.
PARAMS_FILE = "params.yaml"
# What PyYAML raises: "!!int x" is a ValueError, "!!timestamp x" an AttributeError.
_NO_YAML = (
    yaml.YAMLError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
# What YAML makes of 2020-01-01, !!binary and !!set.
_ONLY_IN_YAML = (datetime.date, bytes, set)
_SHOWN = 300  # characters of what cannot be read
_MOST_PARTS = 100_000  # mappings, lists, keys and values of a file


def get_experiment(name: str) -> Any:
    """Returns a registered experiment, ours or Model Garden's.

    Raises:
        UserError: no such name; tells the nearest ones.
    """
    from official.vision import registry_imports  # noqa: F401  (registration)

    try:
        return exp_factory.get_exp_config(name)
    except LookupError as error:
        known = list(exp_factory._REGISTERED_CONFIGS)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        near = near or list(libra_tf.experiments.NAMES)
        raise UserError(
            f"no experiment is called {name!r}; near: {', '.join(near)}"
        ) from error


def load_experiment(
    name: str | None = None,
    config_files: Sequence[str] = (),
    overrides: Sequence[str] = (),
) -> Any:
    """Builds an experiment from its name, YAML files and `a.b=value` overrides.

    Args:
        name: registered name; None takes it from the `experiment` key of the files.
        config_files: applied in order, each over the former.
        overrides: applied last; values are YAML.

    Raises:
        UserError: no name, an unreadable file, or an unknown key.
    """
    layers = [(path, read_yaml(path)) for path in config_files]
    named = [(path, layer) for path, layer in layers if "experiment" in layer]
    if name is None and not named:
        raise UserError(
            "name an experiment: in the key `experiment` of a config file, or with "
            "--experiment where a command has it; see: libra config list"
        )
    if name is None:
        path, layer = named[-1]
        name, params = str(layer["experiment"]), _experiment_of(path, layer)
    else:
        params = get_experiment(name)
    for path, layer in layers:
        if layer.get("experiment", name) != name:
            raise UserError(
                f"{path} is for experiment {layer['experiment']}, not for {name}"
            )
        # Model Garden's own experiments have no such setting.
        settings = {k: v for k, v in layer.items() if k != "experiment"}
        override(params, settings, path)
    apply_overrides(params, overrides)
    return params


def _experiment_of(path: str, layer: dict[str, Any]) -> Any:
    try:
        return get_experiment(str(layer["experiment"]))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def read_yaml(path: str) -> dict[str, Any]:
    """Returns the mapping in a YAML file; raises `UserError` if there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            content = _load(file)
    except (OSError, *_NO_YAML) as error:
        text = " ".join(str(error).split())[:_SHOWN]
        raise UserError(f"{path}: cannot be read as YAML ({text})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: is not a YAML mapping of settings")
    return content


def _load(source: str | TextIO) -> Any:
    """Returns the value of a YAML text.

    Raises:
        yaml.YAMLError: or what else PyYAML raises; also where names of parts (`&a`,
            `*a`) repeat so much that it would fill the memory once it is shown.
    """
    content = yaml.safe_load(source)
    parts, count = [content], 0
    while parts:
        part, count = parts.pop(), count + 1
        if count > _MOST_PARTS:
            raise ValueError("it repeats itself, more than it can be written out")
        if isinstance(part, dict):
            parts += [*part, *part.values()]
        elif isinstance(part, list | tuple | set):
            parts += part
    return content


def parse_override(text: str) -> dict[str, Any]:
    """Turns "task.model.num_classes=4" into nested mappings."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError(f"--set {text}: write it as key.of.setting=value")
    try:
        result: Any = _load(value)
    except _NO_YAML as error:
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        raise UserError(f"--set {shown}: the value is not YAML") from error
    for part in reversed(key.strip().split(".")):
        result = {part: result}
    return result


def flat_settings(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Returns dotted setting to value; {a: {b: 1}} and {a.b: 1} are the same."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= flat_settings(value, f"{above}{key}.")
        else:
            flat[f"{above}{key}"] = value
    return flat


def apply_overrides(params: Any, texts: Sequence[str]) -> None:
    """Applies `a.b=value`, in order; values are YAML.

    Raises:
        UserError: names the override.
    """
    for text in texts:
        override(params, parse_override(text), f"--set {text}")


def override(params: Any, values: dict[str, Any], source: str) -> None:
    """Applies nested mappings; an unknown key raises `UserError` with near ones."""
    fault = _unknown_key(params, values) or _unknown_kind(values)
    if fault:
        raise UserError(f"{source}: {fault}")
    try:
        params.override(with_numbers(params, values), is_strict=True)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{source}: {error}") from error


def _unknown_key(config: Any, values: dict[str, Any], path: str = "") -> str | None:
    for key, value in values.items():
        # Not as_dict: of a choice such as `optimizer` it holds the chosen one only.
        known = [k for k in vars(config) if k not in config.RESERVED_ATTR]
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {path}{near[0]}?" if near else ""
            return f"there is no setting {path}{key}{hint}"
        child = getattr(config, key)
        inside = isinstance(value, dict) and hasattr(child, "as_dict")
        if inside and (unknown := _unknown_key(child, value, f"{path}{key}.")):
            return unknown
    return None


def _unknown_kind(value: Any, path: str = "") -> str | None:
    """What is wrong with a value that no setting can have, such as YAML's dates."""
    if isinstance(value, dict):
        parts = [(f"{path}.{key}".lstrip("."), part) for key, part in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(path, part) for part in value]
    elif isinstance(value, _ONLY_IN_YAML):
        return (
            f"{path} is {value!r}, which YAML takes for a {type(value).__name__}; put "
            "it in quotes if it is a text"
        )
    else:
        return None
    return next(filter(None, (_unknown_kind(part, at) for at, part in parts)), None)


def dump_params(params: Any) -> str:
    """Returns the whole experiment as YAML."""
    return yaml.dump(params.as_dict(), default_flow_style=False)


def load_run(folder: str) -> Any:
    """Returns the experiment that `params.yaml` in a run's folder describes.

    Raises:
        UserError: there is no such file, it is not of this package, or a setting is out
            of its range.
    """
    path = os.path.join(folder, PARAMS_FILE)
    if not os.path.isfile(path):
        raise UserError(f"{folder}: no params.yaml here; give the folder of a run")
    values = read_yaml(path)
    if not values.get("experiment"):
        raise UserError(
            f"{path}: no `experiment` in it; it was not written by libra_tf. Give "
            "--experiment"
        )
    params = _experiment_of(path, values)
    override(params, values, path)
    if is_libra_experiment(params):
        try:
            check_fields(params)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        # Before a run, any number below 2 stands for one that is not set yet.
        if params.task.model.num_classes < 0:
            raise UserError(
                f"{path}: task.model.num_classes is {params.task.model.num_classes}; "
                "it must be >= 0"
            )
    return params
