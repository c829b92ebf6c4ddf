"""Shared fixtures and the `--slow` switch."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import pytest
from error_report import ErrorReport


def pytest_addoption(parser):
    parser.addoption(
        "--slow", action="store_true", help="run the tests that train detectors"
    )
    parser.addoption(
        "--errors", action="store_true", help="tell the largest numeric errors"
    )


def pytest_configure(config):
    if config.getoption("--errors"):
        config.pluginmanager.register(ErrorReport())


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow: run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    """Folder of records of 12 and 6 drawn images, with masks; read only."""
    import tiny

    return tiny.dataset(tmp_path_factory.mktemp("records"))


@pytest.fixture(autouse=True)
def free_memory(request):
    """Frees detectors and compiled steps, which hold each other in cycles."""
    yield
    if "slow" in request.keywords:
        gc.collect()
