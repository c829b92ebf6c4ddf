"""files.environment: what programs set before TensorFlow loads."""

import os
import subprocess
import sys

import pytest

from libra_tf.files import environment


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setattr(os, "environ", {"TF_ENABLE_ONEDNN_OPTS": "0"})
    environment.prepare()
    expected = {**environment.DEFAULTS, "TF_ENABLE_ONEDNN_OPTS": "0"}
    assert os.environ == expected


LOADED = """
import os, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name in ("tensorflow", "absl", "gin"):
            value = os.environ.get("TF_ENABLE_ONEDNN_OPTS")
            print(value, file=sys.__stdout__, flush=True)
            os._exit(0)

sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize(
    "start",
    [
        "import libra_tf.train",
        "import libra_tf.export",
        "from libra_tf.commands.main import main; main(['doctor'])",
    ],
)
def test_it_is_set_before_tensorflow_loads(start):
    keys = environment.DEFAULTS.keys()
    env = {k: v for k, v in os.environ.items() if k not in keys}
    done = subprocess.run(
        [sys.executable, "-c", LOADED + start], env=env, capture_output=True, text=True
    )
    assert done.stdout.strip() == "1", done.stderr
