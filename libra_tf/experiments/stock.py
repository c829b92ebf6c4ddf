"""Model Garden's own experiments, which can be run here without the settings of ours.

Other files read a setting of ours as an attribute, since an experiment of this package
has them all. What may get one of Model Garden's asks here.
"""

from __future__ import annotations

from typing import Any

# What it means that a setting, or a property of the settings, is not there.
_WITHOUT = {
    "class_names": (),
    "clip_to_image": False,
    "cpu_replicas": 0,
    "dataset": "",
    "deterministic": False,
    "experiment": "",
    "fits_each_image": False,
    "imbalance_interval": 0,
    "train_split": "train",
}


def is_libra_experiment(params: Any) -> bool:
    """Whether an experiment is one of this package."""
    return hasattr(params, "experiment")


def of_ours(config: Any, name: str) -> Any:
    """Returns a setting of ours, or what it is where Model Garden's has none."""
    return getattr(config, name, _WITHOUT[name])
