"""Whether two runs have the same settings, also where two versions wrote them.

A setting that the older version did not have yet counts as equal at its default. One
that only the older version has is a difference: nothing here does what it asked for.
"""

from __future__ import annotations

from typing import Any

from official.modeling import hyperparams

_ABSENT = object()


def find_difference(
    before: Any, now: Any, defaults: Any = _ABSENT, path: str = ""
) -> str | None:
    """Returns "a.b = old, not new" of the first setting that differs, if one does.

    Args:
        before: settings of an earlier run, as nested mappings.
        now: settings of this one.
        defaults: of `now`, see `default_settings`.
        path: dotted name of what is compared, for the message.
    """
    if all(x is _ABSENT or isinstance(x, dict) for x in (before, now)):
        before, now = ({} if x is _ABSENT else x for x in (before, now))
        # The shared ones first: of two kinds of one part, `type` tells best.
        for key in sorted(before.keys() & now.keys()) + sorted(before.keys() ^ now):
            found = find_difference(
                _child(before, key),
                _child(now, key),
                _child(defaults, key),
                f"{path}.{key}".lstrip("."),
            )
            if found:
                return found
        return None
    if before is _ABSENT:
        equal = _same(now, defaults)
        return None if equal else f"no {path} (here it is {now!r}, not its default)"
    if now is _ABSENT:
        return f"{path} = {before!r}, which this version does not know"
    return None if _same(before, now) else f"{path} = {before!r}, not {now!r}"


def find_difference_at(
    before: dict[str, Any], now: dict[str, Any], defaults: dict[str, Any], key: str
) -> str | None:
    """The same of one setting, or of all below it.

    Args:
        before: settings of an earlier run.
        now: settings of this one.
        defaults: of `now`.
        key: dotted name.
    """
    return find_difference(_at(before, key), _at(now, key), _at(defaults, key), key)


def setting_at(settings: dict[str, Any], key: str) -> Any:
    """Returns the setting of a dotted name; None where there is none."""
    found = _at(settings, key)
    return None if found is _ABSENT else found


def default_settings(config: hyperparams.Config, default: Any = None) -> dict[str, Any]:
    """Returns what each setting of `config` is where nothing sets it.

    Args:
        config: an experiment, or a part of one.
        default: the part as its owner makes it; None: as its own class does.
    """
    # An experiment's default task is Model Garden's empty one.
    default = default if isinstance(default, type(config)) else type(config)()
    found, known = {}, default.as_dict()
    for name in config.as_dict():
        # Of a choice such as `backbone`, as_dict holds the chosen one only.
        child, own = getattr(config, name), getattr(default, name, None)
        is_part = isinstance(child, hyperparams.Config)
        found[name] = default_settings(child, own) if is_part else known.get(name, own)
    return found


def _at(settings: Any, key: str) -> Any:
    for part in key.split("."):
        settings = _child(settings, part)
    return settings


def _child(settings: Any, key: str) -> Any:
    return settings.get(key, _ABSENT) if isinstance(settings, dict) else _ABSENT


def _same(a: Any, b: Any) -> bool:
    """Whether values are equal; a tuple is a list once it was in a file."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b
