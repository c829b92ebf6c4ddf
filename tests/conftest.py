"""Shared fixtures, the switches `--slow` and `--nightly`, and the order of files."""

import gc
import os
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# Machine code that is made fast, not fast code: a whole step compiles in half the time.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Begun in the background of a shell; programs of the tests are sent Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
# One worker for each core, so one thread for each; sums come out the same each time.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

import cached_hints
import pytest
from error_report import ErrorReport

cached_hints.install()
# What is imported stays, and looking through it again and again takes a quarter of the
# time: until all tests are collected (`pytest_collection_finish`).
gc.disable()


def pytest_addoption(parser):
    parser.addoption(
        "--slow", action="store_true", help="run the tests that train detectors"
    )
    parser.addoption(
        "--nightly",
        action="store_true",
        help="run what proves little per minute, alone",
    )
    parser.addoption(
        "--errors", action="store_true", help="tell the largest numeric errors"
    )


def pytest_configure(config):
    if config.getoption("--errors"):
        config.pluginmanager.register(ErrorReport())


def pytest_collection_modifyitems(config, items):
    nightly = config.getoption("--nightly")
    parts = {True: [], False: []}
    for item in items:
        parts["nightly" in item.keywords].append(item)
    items[:] = parts[nightly]
    config.hook.pytest_deselected(items=parts[not nightly])
    if not config.getoption("--slow") and not nightly:
        skip = pytest.mark.skip(reason="slow: run with --slow")
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(skip)
    longest_files_first(items)


def pytest_collection_finish(session):
    """Makes what every detector of the tests costs cheaper: graphs and `gc`."""
    if "tensorflow" in sys.modules:
        # A graph that runs a few times is not worth optimizing, a sixth of its cost.
        # Programs that the tests start, and parity, optimize as users' runs do.
        sys.modules["tensorflow"].config.optimizer.set_experimental_options(
            {"disable_meta_optimizer": True}
        )
    # Else `free_memory` walks through all of TensorFlow after every file.
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 20)  # graphs are many objects, and most of them stay


# Files of more than half a minute, by falling length as `--durations=0` measured it.
LONGEST = [
    "workers", "methods", "ablation_command", "training", "interruption",
    "weights_command", "published_training", "export", "configs", "parity", "replicas",
    "convert", "ablation_runs", "docs_commands", "repeatable", "diagnostics_measure",
    "picture", "encoded_images", "every_setting", "heads", "nonfinite", "fuzz",
    "imbalance_page", "export_methods", "loss_replicas", "adding_a_method",
]  # fmt: skip


def longest_files_first(items):
    """So that no worker is left alone with a long file at the end.

    Workers take whole files (`--dist loadfile --no-loadscope-reorder`), in this order.
    """
    place = {f"test_{name}": i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    """Folder of records of 12 and 6 drawn images, with masks; read only."""
    import tiny

    return tiny.dataset(tmp_path_factory.mktemp("records"))


@pytest.fixture(autouse=True, scope="module")
def free_memory():
    """Frees detectors and compiled steps, which hold each other in cycles."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def built_once(free_memory):
    """Detectors of one file that equal each other are built once."""
    import built_once

    with pytest.MonkeyPatch.context() as patch:
        built_once.install(patch)
        yield


@pytest.fixture
def untraced():
    """Steps run operation by operation, where what few steps give is the subject.

    A graph of a detector takes as long to make as ten steps or batches without one.
    """
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def traced_nms():
    """Model Garden's suppression as a graph: its loops are half of a forward pass."""
    import tensorflow as tf
    from official.vision.ops import nms

    with pytest.MonkeyPatch.context() as patch:
        name = "sorted_non_max_suppression_padded"
        patch.setattr(nms, name, tf.function(getattr(nms, name), autograph=False))
        yield


@pytest.fixture(scope="module")
def shallow():
    """ResNet-50 in PyTorch's form with a block a stage, where depth is no subject."""
    from libra_tf.layers.torch_resnet import STAGE_BLOCKS

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STAGE_BLOCKS, 50, (1, 1, 1, 1))
        yield


@pytest.fixture
def short_step(monkeypatch):
    """A step of RetinaNet without the detector, where the steps are not the subject."""

    import tensorflow as tf

    from libra_tf.tasks.retinanet import LibraRetinaNetTask

    def train_step(self, inputs, model, optimizer, metrics=None):
        return {self.loss: tf.reduce_mean(tf.cast(inputs[0], tf.float32) ** 2)}

    monkeypatch.setattr(LibraRetinaNetTask, "train_step", train_step)
