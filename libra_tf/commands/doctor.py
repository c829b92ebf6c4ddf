"""`libra doctor`: does this installation work?"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import platform
import sys
from collections.abc import Callable
from importlib import metadata

EPILOG = """\
example:
  libra doctor

Each line is a check; the exit code is 1 if one fails.
"""
PACKAGES = (
    "libra_tf",
    "tensorflow",
    "tf_keras",
    "tf-models-official",
    "keras-cv",
    "numpy",
    "pycocotools",
    "setuptools",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.epilog = EPILOG
    parser.add_argument("--json", action="store_true", help="print JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs the checks; returns 0 if all pass."""
    results = [_run(check) for check in CHECKS]
    if args.json:
        print(json.dumps(results, indent=1))
    else:
        for row in results:
            print(f"{'ok  ' if row['ok'] else 'FAIL'}  {row['check']}: {row['text']}")
    return 0 if all(row["ok"] for row in results) else 1


def _run(check: Callable[[], str]) -> dict:
    name = (check.__doc__ or check.__name__).rstrip(".")
    try:
        # Libraries greet on both when they are imported.
        greetings = io.StringIO()
        with (
            contextlib.redirect_stderr(greetings),
            contextlib.redirect_stdout(greetings),
        ):
            return {"check": name, "ok": True, "text": check()}
    except Exception as error:  # whatever is broken is what we are here to tell
        text = " ".join(str(error).split()) or type(error).__name__
        return {"check": name, "ok": False, "text": text}


def python_version() -> str:
    """Python."""
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        raise RuntimeError(f"{text}; TensorFlow 2.20 needs 3.10 to 3.13")
    return text


def packages() -> str:
    """Packages."""
    return ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)


def setuptools_has_pkg_resources() -> str:
    """TensorBoard."""
    try:
        importlib.import_module("tensorboard.default")
    except ImportError as error:
        raise RuntimeError(f'{error}; mend it: pip install "setuptools<82"') from error
    return f"tensorboard {metadata.version('tensorboard')} starts"


def model_garden() -> str:
    """Model Garden."""
    from libra_tf.experiments import NAMES
    from libra_tf.experiments.saved import get_experiment

    for name in NAMES:
        get_experiment(name)
    return f"{len(NAMES)} experiments of libra_tf are registered"


def one_step() -> str:
    """Gradients."""
    import tensorflow as tf
    import tf_keras

    from libra_tf.layers import BalancedFeaturePyramid

    inputs = {str(k): tf_keras.Input([32 >> k, 32 >> k, 4]) for k in (2, 3)}
    model = tf_keras.Model(inputs, BalancedFeaturePyramid(refine_level=3)(inputs))
    with tf.GradientTape() as tape:
        outputs = model({k: tf.ones([1, *v.shape[1:]]) for k, v in inputs.items()})
        loss = tf.add_n([tf.reduce_sum(v**2) for v in outputs.values()])
    gradients = tape.gradient(loss, model.trainable_variables)
    if not gradients or any(g is None for g in gradients):
        raise RuntimeError("no gradient: tf_keras and the layers do not fit together")
    return f"{len(gradients)} gradients through the balanced feature pyramid"


def keras_cv() -> str:
    """keras-cv."""
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise RuntimeError(f"KERAS_BACKEND is {backend!r}; unset it")
    importlib.import_module("keras_cv.visualization")
    return "its visualization can be imported"


def devices() -> str:
    """Devices."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(g)["device_name"] for g in gpus]
    if not gpus and os.path.exists("/dev/nvidia0"):
        raise RuntimeError(
            "there is an NVIDIA GPU, but TensorFlow does not use it: pip install "
            '"libra_tf[gpu]"'
        )
    return f"{len(gpus)} GPU {names or ''}, {os.cpu_count()} CPU cores"


def one_dnn() -> str:
    """OneDNN."""
    from tensorflow.python.framework import test_util

    used = "used" if test_util.IsMklEnabled() else "not used"
    value = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "not set")
    return f"oneDNN is {used} (TF_ENABLE_ONEDNN_OPTS: {value})"


CHECKS = (
    python_version,
    packages,
    setuptools_has_pkg_resources,
    model_garden,
    one_step,
    keras_cv,
    devices,
    one_dnn,
)
