"""Balanced training of object detectors for TensorFlow Model Garden.

`import libra_tf` is cheap: sub-packages load when they are first touched, and
nothing outside `models`, `tasks`, `experiments` and what stands above them imports
Model Garden.
"""

import importlib
from types import ModuleType

__version__ = "0.1.0"

_ROOMS = (
    "ablation",
    "analysis",
    "commands",
    "criteria",
    "data",
    "diagnostics",
    "drawing",
    "evaluation",
    "experiments",
    "files",
    "inference",
    "inputs",
    "layers",
    "losses",
    "models",
    "ops",
    "plots",
    "samplers",
    "tasks",
    "torch_files",
    "training",
    "weights",
)


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS:
        return importlib.import_module(f"libra_tf.{name}")
    raise AttributeError(f"module 'libra_tf' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS])
