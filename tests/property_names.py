"""Public names of the rooms `losses`, `samplers` and `layers`, and which are parts.

A public name is in `PARTS`, or in the table that says how it is called
(`property_losses.LOSSES`, `property_samplers.SAMPLERS`, `property_layers.LAYERS`), or
`test_properties_names` fails.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def public_names(room: ModuleType) -> set[str]:
    """Functions and classes of a room: those its door names, and its modules'."""
    names = set(room.__all__)
    for module in pkgutil.iter_modules(room.__path__):
        names |= functions(importlib.import_module(f"{room.__name__}.{module.name}"))
    return names


def functions(module: ModuleType) -> set[str]:
    """Public functions and classes that a module defines."""
    return {
        name
        for name, value in vars(module).items()
        if callable(value)
        and getattr(value, "__module__", None) == module.__name__
        and not name.startswith("_")
    }


# Names that are no loss, sampler or layer, and what they are.
PARTS = {
    "losses": {
        "GradientHarmonized": "result of ghm_c and ghm_r",
        "GradientHarmonizedLoss": "base of GHMCLoss and GHMRLoss",
        "ResidualObjectnessLosses": "result of residual_objectness",
        "bin_index": "of ghm_c and ghm_r",
        "check_numbers": "of ghm_c and ghm_r",
        "count": "of ghm_c and ghm_r",
        "count_up_to": "of average_precision",
        "harmonize": "of ghm_c and ghm_r",
        "next_expected_positives": "state beside residual_objectness",
        "RisingSteps": "of average_precision",
        "RowLoss": "base of BalancedL1Loss and FocalLoss",
        "prepare": "of ghm_c and ghm_r",
    },
    "samplers": {
        "MinedRoIs": "what a sampler is told",
        "RoISelection": "result of select_rois",
        "SampledRoIs": "result of RoISampler",
        "SamplingRule": "settings of select_rois and RoISampler",
        "best_foreground": "of select_rois",
        "class_losses": "of select_rois",
        "has_area": "of select_rois",
        "match": "of select_rois",
        "pad_rows": "of select_rois",
        "repeat_real_rows": "of RoISampler",
    },
    "layers": {
        "ResNetShape": "sizes of TorchResNet",
        "RunningState": "no input; kept by the losses of test_dense_*",
        "UnchangedState": "a RunningState that is only read",
        "common_channels": "of the pyramids",
        "derived_seed": "of initial weights",
        "has_grouped_gradient": "of GroupedConv2D",
        "seeded": "of initial weights",
        "sorted_levels": "of the pyramids",
        "unchanged": "of RunningState",
    },
}
