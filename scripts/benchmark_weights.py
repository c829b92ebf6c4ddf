"""Seconds and memory of the published detectors on one 800x1333 image, on this CPU.

    python scripts/benchmark_weights.py                   # all four
    python scripts/benchmark_weights.py faster_rcnn_r50 --repeats 5

Full size, 80 classes, random weights (the thresholds let 1000 candidates through either
way), one image at a time, through the serving graph that `libra predict` runs. Each
detector has a process of its own, whose peak memory is told. Where mmdetection is
installed, its detector of the same config runs beside, on as many threads.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np

HEIGHT, WIDTH = 800, 1333
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = "|".join(DETECTORS)
    parser.add_argument("names", metavar=names, nargs="*", help="default: all")
    parser.add_argument("--repeats", type=int, default=3, help="timed images (3)")
    parser.add_argument("--child", choices=("libra_tf", "mmdet"), help="internal")
    args = parser.parse_args()
    names = args.names or list(DETECTORS)
    unknown = set(names) - set(DETECTORS)
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(DETECTORS)}")
    if args.child:
        run = {"libra_tf": run_libra, "mmdet": run_mmdet}[args.child]
        print(json.dumps(run(names[0], args.repeats)))
        return 0
    kinds = ["libra_tf"] + (["mmdet"] if importlib.util.find_spec("mmdet") else [])
    if len(kinds) == 1:
        print("mmdetection is not installed here: its column is empty")
    print(f"{'detector':24}{'program':>10}{'s/image':>9}{'first':>8}{'peak GB':>9}")
    for name in names:
        for kind in kinds:
            row = in_a_process(name, kind, args.repeats)
            print(
                f"{name:24}{kind:>10}{row['seconds']:9.2f}{row['first']:8.1f}"
                f"{row['peak_gb']:9.2f}",
                flush=True,
            )
    return 0


def in_a_process(name: str, kind: str, repeats: int) -> dict:
    words = [sys.executable, __file__, name, "--child", kind, f"--repeats={repeats}"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def run_libra(name: str, repeats: int) -> dict:
    """Times the serving function that `libra predict` calls."""
    import tensorflow as tf

    from libra_tf.inference.serving import build_module
    from libra_tf.weights.architecture import Architecture
    from libra_tf.weights.coco_classes import COCO_CLASSES
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


def run_mmdet(name: str, repeats: int) -> dict:
    """Times mmdetection's `inference_detector` with its own config."""
    import torch
    from mmdet.apis import inference_detector, init_detector
    from mmdet.utils import get_mmdet_path

    detector, backbone = DETECTORS[name]
    config = f"libra-{detector.replace('_', '-')}_{backbone.replace('_', '-', 1)}"
    if backbone == "x101_64x4d":
        config = "libra-faster-rcnn_x101-64x4d"
    folder = os.path.join(get_mmdet_path(), ".mim", "configs", "libra_rcnn")
    path = os.path.join(folder, f"{config}_fpn_1x_coco.py")
    torch.set_num_threads(os.cpu_count() or 1)
    options = {"model.backbone.init_cfg": None}
    model = init_detector(path, None, device="cpu", cfg_options=options)
    return measure(lambda: inference_detector(model, random_image()), repeats)


def measure(call, repeats: int) -> dict:
    """Seconds of the first call, the median of the next ones, and the peak memory."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "first": seconds[0],
        "seconds": float(np.median(seconds[1:])),
        "peak_gb": peak * 1024 / 1e9,
    }


def random_image() -> np.ndarray:
    shape = (HEIGHT, WIDTH, 3)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
