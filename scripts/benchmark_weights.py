"""Seconds and memory of the published detectors on one 800x1333 image, on this CPU.

    python scripts/benchmark_weights.py                   # all four
    python scripts/benchmark_weights.py faster_rcnn_r50 --repeats 5
    python scripts/benchmark_weights.py --mmdet venv_with_mmdet/bin/python

Full size, 80 classes, random weights (1000 proposals are made, but few scores pass the
last threshold, in either program), one image at a time, through the serving graph that
`libra predict` runs. Each detector has a process of its own, whose peak memory is told.
`--mmdet PYTHON`, the interpreter of an environment with mmdetection 3, runs its
detector of the same config beside, on as many threads.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np
from mmdet_peer import PEER, measure, random_image, run_process

_BACKBONES = {
    "r50": {"depth": 50, "groups": 1, "width_per_group": 64},
    "r101": {"depth": 101, "groups": 1, "width_per_group": 64},
    "x101_64x4d": {"depth": 101, "groups": 64, "width_per_group": 4},
}
DETECTORS = {
    "faster_rcnn_r50": ("faster_rcnn", "r50"),
    "faster_rcnn_r101": ("faster_rcnn", "r101"),
    "faster_rcnn_x101_64x4d": ("faster_rcnn", "x101_64x4d"),
    "retinanet_r50": ("retinanet", "r50"),
}
_HEADS = {
    "faster_rcnn": {"num_anchors": 3, "extra_levels": "max_pool", "rpn_channels": 256,
                    "fc_channels": 1024, "num_fcs": 2, "roi_size": 7},
    "retinanet": {"num_anchors": 9, "extra_levels": "on_input", "head_channels": 256,
                  "head_convs": 4},
}  # fmt: skip


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = "|".join(DETECTORS)
    parser.add_argument("names", metavar=names, nargs="*", help="default: all")
    parser.add_argument("--repeats", type=int, default=3, help="timed images (3)")
    parser.add_argument("--mmdet", metavar="PYTHON", help="one that has mmdetection")
    parser.add_argument("--child", action="store_true", help="internal")
    args = parser.parse_args()
    names = args.names or list(DETECTORS)
    unknown = set(names) - set(DETECTORS)
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(DETECTORS)}")
    if args.child:
        print(json.dumps(run_libra(names[0], args.repeats)))
        return 0
    print(f"{'detector':24}{'program':>10}{'s/image':>9}{'first':>8}{'peak GB':>9}")
    for name in names:
        tell(name, "libra_tf", [sys.executable, __file__, name, "--child"], args)
        if args.mmdet:
            tell(name, "mmdet", [args.mmdet, PEER, "time", name], args)
    return 0


def tell(name: str, program: str, words: list[str], args: argparse.Namespace) -> None:
    """Measures in a process of its own, and prints a row."""
    printed = run_process([*words, f"--repeats={args.repeats}"])
    row = json.loads(printed.splitlines()[-1])
    print(
        f"{name:24}{program:>10}{row['seconds']:9.2f}{row['first']:8.1f}"
        f"{row['peak_gb']:9.2f}",
        flush=True,
    )


def run_libra(name: str, repeats: int) -> dict:
    """Times the serving function that `libra predict` calls."""
    import tensorflow as tf

    from libra_tf.inference.serving import build_module
    from libra_tf.weights.architecture import Architecture
    from libra_tf.weights.class_names import COCO_CLASSES
    from libra_tf.weights.experiment import experiment_for

    detector, backbone = DETECTORS[name]
    architecture = Architecture(
        detector=detector,
        base_channels=64,
        fpn_channels=256,
        refine="non_local",
        num_classes=len(COCO_CLASSES),
        **_BACKBONES[backbone],
        **_HEADS[detector],
    )
    module = build_module(experiment_for(architecture, COCO_CLASSES))
    serve = module.get_inference_signatures({"image_tensor": "serve"})["serve"]
    image = tf.constant(random_image()[np.newaxis])
    return measure(lambda: serve(inputs=image)["num_detections"].numpy(), repeats)


if __name__ == "__main__":
    sys.exit(main())
