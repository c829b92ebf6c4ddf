"""Published detectors at full size: built, filled and written, within memory."""

import json
import subprocess
import sys

import pytest
from published_state_dicts import COUNTER, count, detector_shapes, random_weights
from torch_files import ordered, write_stream

from libra_tf.weights.class_names import COCO_CLASSES

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(
        sys.platform != "linux", reason="peak memory is read from /proc"
    ),
]

DETECTORS = {
    "faster_rcnn_r50": ("faster_rcnn", {}),
    "faster_rcnn_r101": ("faster_rcnn", {"depth": 101}),
    "faster_rcnn_x101": (
        "faster_rcnn", {"depth": 101, "groups": 64, "per_group": 4},
    ),
    "retinanet_r50": ("retinanet", {}),
}  # fmt: skip
MOST_MEMORY = 4e9  # bytes
# Not `ru_maxrss`: it keeps the memory of the process that this one was forked from.
IMPORT = """
import re, sys
from pathlib import Path
from libra_tf.commands.main import main
code = main(["weights", "import", *sys.argv[1:], "--json"])
status = Path("/proc/self/status").read_text()
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) * 1024, file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("name", DETECTORS)
def test_a_full_size_detector_is_imported(name, tmp_path):
    detector, options = DETECTORS[name]
    shapes = detector_shapes(detector, **options)
    content = {"state_dict": ordered(random_weights(shapes)), "meta": {}}
    path = write_stream(tmp_path / "x.pth", content)
    del content
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, str(path), "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads(done.stdout)
    weights = [shape for key, shape in shapes.items() if COUNTER not in key]
    assert record["num_tensors"] == len(weights)
    assert record["num_parameters"] == count(weights)
    assert {int(i): n for i, n in record["class_names"].items()} == COCO_CLASSES
    data = (tmp_path / "run" / "ckpt-0.data-00000-of-00001").stat().st_size
    # Ten outputs more, for the gaps in COCO's ids.
    assert count(weights) < data / 4 < 1.02 * count(weights)
    assert int(done.stderr.split()[-1]) < MOST_MEMORY
