"""Numbers that YAML takes for text.

YAML 1.1, which PyYAML reads, wants a point and a sign: 1e-4 and 2.5e3 are texts there.
Where a setting is a number they are numbers; where it is a text they stay.
"""

from __future__ import annotations

import re
from typing import Any

from official.modeling import hyperparams

from libra_tf.experiments.fields import plain_types

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d{1,4}")


def with_numbers(config: hyperparams.Config, values: dict[str, Any]) -> dict[str, Any]:
    """Returns overrides of `config` in which texts are numbers where they must be.

    Args:
        config: an experiment or a section.
        values: nested mappings of its settings.
    """
    return {key: _converted(config, key, value) for key, value in values.items()}


def _converted(config: hyperparams.Config, key: str, value: Any) -> Any:
    child = getattr(config, key, None)
    if isinstance(value, dict) and isinstance(child, hyperparams.Config):
        return with_numbers(child, value)
    types = plain_types(type(config)._get_annotations().get(key))
    if float not in types or str in types:
        return value
    if isinstance(value, list):
        return [_number(each) for each in value]
    return _number(value)


def _number(value: Any) -> Any:
    is_number = isinstance(value, str) and _NUMBER.fullmatch(value)
    return float(value) if is_number else value
