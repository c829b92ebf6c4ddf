"""What our programs set before TensorFlow loads; what the user has set stays."""

from __future__ import annotations

import os

DEFAULTS = {
    # TensorFlow's start-up chatter would bury the lines meant for people.
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # keras-cv must find the Keras that Model Garden uses.
    "TF_USE_LEGACY_KERAS": "1",
    # TensorFlow takes oneDNN by itself on CPUs with AVX512 VNNI only; convolutions are
    # faster with it on those with AVX2 too.
    "TF_ENABLE_ONEDNN_OPTS": "1",
}


def prepare() -> None:
    """Sets the variables of `DEFAULTS` that are not set."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
