"""Reads plans.

A plan is a YAML file:

    title: what the table shows
    paper: where the published numbers come from
    rows:
      - name: baseline                  # a folder of this name holds its runs
        baseline: true                  # or the name of another row
        step_from: ROW                  # optional, a row to compare with as well
        config: libra/table2/1_baseline # or a list; later files go over former ones
        set: {task.losses.box.beta: 1}  # optional, over the files
        two_core: {...}                 # optional, in the two-core scale only, last
        published: {AP: 35.9}           # optional, on COCO
        published_over: {AP: 35.0}      # optional, the paper's own baseline

In place of `rows`, `groups` may hold a list of {title, rows}; the baseline is then
that of the group.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from typing import Any

from libra_tf.ablation.plan import Plan, Row
from libra_tf.errors import UserError, shown_name
from libra_tf.experiments.files import plan_files
from libra_tf.experiments.saved import flat_settings, read_yaml

_PLAN_KEYS = ("title", "paper", "rows", "groups")
_GROUP_KEYS = ("title", "rows")
_PUBLISHED = ("published", "published_over")
_ROW_KEYS = (
    "name",
    "config",
    "set",
    "two_core",
    *_PUBLISHED,
    "baseline",
    "step_from",
    "note",
)
_MOST = 1e12  # of a published number; NaN is not below it
_LONGEST_NAME = 200  # of 255 that the name of a folder may have
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


def find_plan(name_or_path: str) -> str:
    """Returns the path of a plan: a file, or the name of a shipped one.

    Raises:
        UserError: neither; tells the nearest names.
    """
    if os.path.isfile(name_or_path):
        return name_or_path
    files = plan_files()
    if name_or_path in files:
        return files[name_or_path]
    near = difflib.get_close_matches(name_or_path, files, n=3) or list(files)
    raise UserError(
        f"{name_or_path}: no such file, and no such plan is shipped; there are "
        f"{', '.join(near)}"
    )


def load_plan(name_or_path: str) -> Plan:
    """Reads a plan.

    Raises:
        UserError: the file cannot be read, or says something that no plan can; names
            the file, the row and the key.
    """
    path = find_plan(name_or_path)
    content = read_yaml(path)
    _check_keys(content, _PLAN_KEYS, path)
    if ("rows" in content) == ("groups" in content):
        raise UserError(f"{path}: give either `rows` or `groups`")
    groups = content.get("groups", [{"title": "", "rows": content.get("rows")}])
    rows: list[Row] = []
    for number, group in enumerate(_list(groups, f"{path}: groups")):
        where = f"{path}: group {number + 1}" if "groups" in content else path
        _check_keys(group, _GROUP_KEYS, where)
        rows += _read_group(group, where)
    _check_names(rows, path)
    _check_baselines(rows, path)
    name = os.path.basename(path).removesuffix(".yaml")
    title, paper = _text(content, "title", path, name), _text(content, "paper", path)
    return Plan(name, path, title, paper, tuple(rows))


def _read_group(group: dict[str, Any], where: str) -> list[Row]:
    entries = _list(group.get("rows"), f"{where}: rows")
    title = _text(group, "title", where)
    rows = [_read_row(entry, title, where) for entry in entries]
    own = [row.name for row, e in zip(rows, entries, strict=True)
           if e.get("baseline") is True]  # fmt: skip
    return [
        _with_baseline(r, e, own, where) for r, e in zip(rows, entries, strict=True)
    ]


def _read_row(entry: Any, group: str, where: str) -> Row:
    if not isinstance(entry, dict) or "name" not in entry:
        raise UserError(f"{where}: a row is no mapping with a `name`: {entry!r}")
    name = str(entry["name"])
    where = f"{where}: row {shown_name(name)}"
    if not _NAME.fullmatch(name):
        raise UserError(f"{where}: use letters, digits and . _ + - in the name")
    if len(name) > _LONGEST_NAME:
        raise UserError(
            f"{where}: the name has {len(name)} characters, and a folder is called so; "
            f"use at most {_LONGEST_NAME}"
        )
    _check_keys(entry, _ROW_KEYS, where)
    configs = entry.get("config", [])
    configs = [configs] if isinstance(configs, str) else configs
    if not configs or not all(isinstance(c, str) for c in _list(configs, where)):
        raise UserError(f"{where}: `config` names no experiment file")
    return Row(
        name=name,
        configs=tuple(configs),
        settings=flat_settings(_mapping(entry, "set", where)),
        two_core=flat_settings(_mapping(entry, "two_core", where)),
        published=_numbers(entry, "published", where),
        published_over=_numbers(entry, "published_over", where),
        baseline=None,
        step_from=_text(entry, "step_from", where) or None,
        group=group,
        note=_text(entry, "note", where),
    )


def _with_baseline(row: Row, entry: dict, own: list[str], where: str) -> Row:
    given = entry.get("baseline")
    if given is True:
        return row
    if given is None and len(own) == 1:
        given = own[0]
    if not isinstance(given, str):
        raise UserError(
            f"{where}: row {row.name}: `baseline` must name a row, or one row must "
            "have `baseline: true`"
        )
    return dataclasses.replace(row, baseline=given)


def _check_names(rows: list[Row], path: str) -> None:
    names = [row.name for row in rows]
    folders: dict[str, str] = {}
    for row in rows:
        other = folders.setdefault(row.name.lower(), row.name)
        if names.count(row.name) > 1:
            raise UserError(f"{path}: two rows are called {row.name}")
        if other != row.name:
            raise UserError(
                f"{path}: rows {other} and {row.name} differ in capitals only, which "
                "is one folder on some disks; rename one"
            )
        for key, base in (("baseline", row.baseline), ("step_from", row.step_from)):
            if base is not None and base not in names:
                raise UserError(f"{path}: row {row.name}: its {key} {base!r} is no row")
        if row.step_from == row.name:
            raise UserError(f"{path}: row {row.name}: `step_from` names the row itself")


def _check_baselines(rows: list[Row], path: str) -> None:
    """Refuses rings: a row is compared with one that is none's, in the end."""
    baselines = {row.name: row.baseline for row in rows}
    for row in rows:
        chain: list[str] = []
        name: str | None = row.name
        while name is not None and name not in chain:
            chain.append(name)
            name = baselines[name]
        if name is not None:
            ring = " -> ".join([*chain[chain.index(name) :], name])
            raise UserError(
                f"{path}: row {name}: its baselines lead back to it ({ring}); give one "
                "of them `baseline: true`"
            )


def _check_keys(values: Any, known: tuple[str, ...], where: str) -> None:
    if not isinstance(values, dict):
        raise UserError(f"{where}: is no mapping: {values!r}")
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f" ({', '.join(known)})"
            raise UserError(f"{where}: there is no key {key!r}{hint}")


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise UserError(f"{where}: must be a list with entries")
    return value


def _text(entry: dict[str, Any], key: str, where: str, default: str = "") -> str:
    value = entry.get(key, default)
    if not isinstance(value, str):
        raise UserError(f"{where}: `{key}` is no text: {value!r}; put it in quotes")
    return value


def _mapping(entry: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    value = entry.get(key) or {}
    if not isinstance(value, dict):
        raise UserError(f"{where}: `{key}` is no mapping: {value!r}")
    return value


def _numbers(entry: dict[str, Any], key: str, where: str) -> dict[str, float]:
    values = _mapping(entry, key, where)
    for name, value in values.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number and abs(value) < _MOST):
            raise UserError(f"{where}: {key}.{name} is {value!r}, not a number")
    return {str(name): float(value) for name, value in values.items()}
