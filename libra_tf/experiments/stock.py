"""Model Garden's own experiments, which can be run here and have no setting of ours.

This is the one place that knows it. Elsewhere settings are typed and there.
"""

from __future__ import annotations

from typing import Any

# What it means that a setting, or a property of the settings, is not there.
_WITHOUT = {
    "class_names": (),
    "cpu_replicas": 0,
    "dataset": "",
    "deterministic": False,
    "experiment": "",
    "fits_each_image": False,
}


def is_ours(params: Any) -> bool:
    """Whether an experiment is one of this package."""
    return hasattr(params, "experiment")


def of_ours(config: Any, name: str) -> Any:
    """Returns a setting of ours, or what it is where Model Garden's has none."""
    return getattr(config, name, _WITHOUT[name])
