"""The documentation of settings, from where they are declared.

What a setting means is in the docstring of the class that declares it, under
"Attributes"; range, choices, unit and source are its `Limits`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from official.modeling import hyperparams

from libra_tf.experiments.fields import Field, walk
from libra_tf.experiments.task_config import (
    ExperimentConfig,
    MaskRCNNTask,
    RetinaNetTask,
)

COMMAND = "libra config docs --out docs/settings.md"
_ENTRY = re.compile(r"(\w+): (.*)")
_TASKS: dict[str, type[MaskRCNNTask] | type[RetinaNetTask]] = {
    "Faster and Mask R-CNN": MaskRCNNTask,
    "RetinaNet": RetinaNetTask,
}
_PAGE = f"""\
# Settings

Written by `{COMMAND}`; do not edit it by hand.

All settings that this package adds to Model Garden's, by their section in an
experiment. `libra config show FIELD` prints those of one field or section, with its
value in an experiment. The default holds where neither the experiment nor a file says
otherwise; the named experiments set the papers' values. Where the two detectors differ,
the first column says which one is meant. Settings of Model Garden's own keep its
meaning and its defaults; of those, the last section lists the ones that are checked
here for more than their type. A number without an upper bound is finite: at most 1e12,
a whole one 2**31 - 1. Where a number is wanted, `1e-4` is one. Contradictions between
settings are refused when an experiment is read.
"""


def declared_by(field: Field) -> type:
    """Returns the class that declares a setting, the last one of several."""
    return next(c for c in field.owner.__mro__ if field.name in vars(c).get(
        "__annotations__", {}
    ))  # fmt: skip


def is_declared_here(field: Field) -> bool:
    """Whether this package declares a setting, and not Model Garden alone."""
    return declared_by(field).__module__.startswith("libra_tf.")


def meaning(field: Field) -> str:
    """Returns what a setting means; "" if no class says it."""
    entries = (_attributes(c).get(field.name) for c in field.owner.__mro__)
    return next(filter(None, entries), "")


def _attributes(owner: type) -> dict[str, str]:
    """Returns the entries of the section "Attributes" of a class's own docstring."""
    text = inspect.cleandoc(vars(owner).get("__doc__") or "")
    _, _, section = text.partition("Attributes:\n")
    lines = [line for line in section.split("\n") if line.strip()]
    indent = len(lines[0]) - len(lines[0].lstrip()) if lines else 0
    entries: dict[str, str] = {}
    name = ""
    for line in lines:
        depth = len(line) - len(line.lstrip())
        if depth < indent or not indent:
            break
        found = _ENTRY.fullmatch(line.strip()) if depth == indent else None
        if found:
            name, entries[found[1]] = found[1], found[2]
        elif name:
            entries[name] += f" {line.strip()}"
    return entries


def explain(params: ExperimentConfig, path: str) -> list[str]:
    """Returns what `libra config show` prints of a setting, or of all in a section."""
    defaults = type(params)(task=type(params.task)())
    values = {field.path: field.value for field in walk(defaults)}
    return [_describe(f, values.get(f.path)) for f in find(params, path)]


def _describe(field: Field, default: Any) -> str:
    limits = field.limits
    facts = [field.kind, str(limits), f"default {_text(default)}"]
    lines = [f"{field.path}: {_text(field.value)}", meaning(field)]
    lines.append("; ".join(filter(None, facts)))
    lines.append(limits.unit and f"unit: {limits.unit}")
    lines.append(limits.source and f"source: {limits.source}")
    return "\n  ".join(filter(None, lines))


def find(params: hyperparams.Config, path: str) -> list[Field]:
    """Returns the setting at `path`, or all those below the section there."""
    return [
        field
        for field in walk(params)
        if not field.is_section and f"{field.path}.".startswith(f"{path}.")
    ]


def page() -> str:
    """Returns the page of all settings, in Markdown."""
    detectors = {
        name: [f for f in walk(ExperimentConfig(task=task())) if not f.is_section]
        for name, task in _TASKS.items()
    }
    ours = {
        name: list(filter(is_declared_here, fields))
        for name, fields in detectors.items()
    }
    checked = {
        name: [f for f in fields if not is_declared_here(f) and str(f.limits)]
        for name, fields in detectors.items()
    }
    sections: dict[str, list[str]] = {}
    for label, field in _merged(ours):
        section = field.path.rpartition(".")[0]
        sections.setdefault(section, []).append(_row(label, field))
    head = "| setting | type | default | allowed | meaning |\n|---|---|---|---|---|\n"
    parts = [_PAGE]
    for section, rows in sorted(sections.items()):
        parts.append(f"## {section or 'experiment'}\n\n{head}" + "".join(rows))
    rows = [
        f"| {label}`{f.path}` | {f.limits} | {f.limits.unit} |\n"
        for label, f in _merged(checked)
        # Its own types of backbones, optimizers and so on.
        if f.name != "type"
    ]
    head = "| setting | allowed | unit |\n|---|---|---|\n"
    parts.append(f"## Model Garden's, with limits\n\n{head}" + "".join(rows))
    return "\n".join(parts)


def _merged(detectors: dict[str, list[Field]]) -> Iterator[tuple[str, Field]]:
    """Yields settings with the detector's name, or "" where all have the same."""
    rows = {name: {f.path: f for f in fs} for name, fs in detectors.items()}
    for path in dict.fromkeys(p for fields in rows.values() for p in fields):
        found = {name: fields[path] for name, fields in rows.items() if path in fields}
        if len(found) == len(rows) and len({_row("", f) for f in found.values()}) == 1:
            yield "", next(iter(found.values()))
        else:
            yield from ((f"{name}: ", field) for name, field in found.items())


def _row(label: str, field: Field) -> str:
    limits = field.limits
    text = meaning(field)
    text += f" Unit: {limits.unit}." if limits.unit else ""
    text += f" Source: {limits.source}." if limits.source else ""
    cells = (
        f"{label}`{field.name}`",
        field.kind,
        f"`{_text(field.value)}`",
        str(limits),
        text.strip(),
    )
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _text(value: Any) -> str:
    """A value as YAML has it."""
    if isinstance(value, hyperparams.Config):
        return "a section"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:.6g}" if value != int(value) else f"{value:.1f}"
    return f'"{value}"' if isinstance(value, str) else str(value)
