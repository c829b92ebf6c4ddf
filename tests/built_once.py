"""Detectors that a file of tests builds once, and gets again with the same weights.

A build of 50 layers takes seconds, and a command line builds one each time. What a test
sees is as after a build: the weights are set back to those that the build gave.
"""

from __future__ import annotations

import json

import tensorflow as tf
import tf_keras

from libra_tf.inference import serving
from libra_tf.tasks import maskrcnn, retinanet
from libra_tf.training import prepare
from libra_tf.weights import importer

MODULES = (importer, serving, maskrcnn, retinanet)
BUILDERS = ("build_maskrcnn", "build_retinanet")


def install(patch) -> None:
    """Makes whatever builds detectors keep them, until `patch` is undone."""
    kept: dict = {}
    for module in MODULES:
        for name in BUILDERS:
            if hasattr(module, name):
                patch.setattr(module, name, keeping(getattr(module, name), kept))
    # An optimizer takes the variables of its own strategy only.
    patch.setattr(prepare, "build_strategy", one_strategy(prepare.build_strategy))


def keeping(build, kept):
    """A builder that returns what it built before from the same arguments."""

    def build_or_take(specs, config, l2_regularizer=None, seed=None):
        decay = str(l2_regularizer and l2_regularizer.get_config())
        scope = id(tf.distribute.get_strategy())
        words = [build.__name__, list(specs.shape), config.as_dict(), decay, seed]
        key = json.dumps([*words, scope, tf_keras.mixed_precision.global_policy().name])
        if key in kept:
            model, weights = kept[key]
            for variable, value in weights:
                variable.assign(value)
            return model
        model = build(specs, config, l2_regularizer, seed)
        # Not `get_weights`: a task may give the model a state of its loss.
        kept[key] = model, [(v, v.numpy()) for v in model.weights]
        return model

    return build_or_take


def one_strategy(build):
    """A builder that returns the strategy it built before from the same settings."""
    kept: dict = {}

    def build_or_take(runtime):
        key = json.dumps(runtime.as_dict())
        if key not in kept:
            kept[key] = build(runtime)
        return kept[key]

    return build_or_take
