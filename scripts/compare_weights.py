"""Published detectors at full size against mmdetection: equal detections?

    python scripts/compare_weights.py --mmdet venv_with_mmdet/bin/python photo.jpg
    python scripts/compare_weights.py --mmdet ... photo.jpg retinanet_r50 --seed 1

mmdetection builds the detector of its own config with random weights, saves it and
detects in the photo; `libra weights import` reads the file, and the import detects in
the same photo. Photos of a lossless format, or both decoders may differ. Tells how many
of mmdetection's detections are found (same class, within a pixel), how many of them at
the same place of the list, and the largest difference of their scores and boxes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np
from mmdet_peer import CONFIGS, PEER, run_process


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image")
    parser.add_argument("names", metavar="|".join(CONFIGS), nargs="*")
    parser.add_argument("--mmdet", required=True, help="Python that has mmdetection")
    parser.add_argument("--seed", type=int, default=0, help="of the weights")
    args = parser.parse_args()
    print(
        f"{'detector':24}{'detections':>11}{'ours':>6}{'found':>7}{'in order':>10}"
        f"{'score':>10}{'pixels':>10}"
    )
    for name in args.names or CONFIGS:
        with tempfile.TemporaryDirectory() as folder:
            theirs = detect_with_mmdet(name, folder, args)
            ours = detect_with_import(folder, args.image)
        print(f"{name:24}{compare(theirs, ours)}", flush=True)
    return 0


def detect_with_mmdet(name: str, folder: str, args: argparse.Namespace) -> dict:
    """Makes the weights; returns boxes, scores and labels from 0."""
    words = [args.mmdet, PEER, "detect", name, "--image", args.image]
    run_process([*words, "--out", folder, "--seed", str(args.seed)])
    return dict(np.load(f"{folder}/detections.npz"))


def detect_with_import(folder: str, image: str) -> dict:
    """The same with the checkpoint imported."""
    from libra_tf.commands.main import main as libra
    from libra_tf.inference.detector import load_detector
    from libra_tf.inference.images import read_rgb
    from libra_tf.weights.class_names import COCO_CLASSES

    words = ["weights", "import", f"{folder}/weights.pth", "--out", f"{folder}/run"]
    with contextlib.redirect_stdout(io.StringIO()):
        failed = libra(words)
    if failed:
        sys.exit("the import failed")
    found = load_detector(f"{folder}/run").detect(read_rgb(Path(image)))
    labels = {class_id: label for label, class_id in enumerate(sorted(COCO_CLASSES))}
    return {
        "bboxes": found.boxes[:, [1, 0, 3, 2]],
        "scores": found.scores,
        "labels": np.array([labels[i] for i in found.classes]),
    }


def compare(theirs: dict, ours: dict) -> str:
    """Counts those of theirs that ours has too: same class, within a pixel."""
    distance = np.abs(theirs["bboxes"][:, None] - ours["bboxes"]).max(-1)
    other = theirs["labels"][:, None] != ours["labels"]
    distance = np.where(other, np.inf, distance)
    match = distance.argmin(1)
    pixels = distance.min(1)
    found = pixels < 1.0
    scores = np.abs(theirs["scores"] - ours["scores"][match])[found]
    in_order = (found & (match == np.arange(len(match)))).sum()
    return (
        f"{len(theirs['scores']):11}{len(ours['scores']):6}{found.sum():7}"
        f"{in_order:10}{scores.max(initial=0):10.1e}{pixels[found].max(initial=0):10.1e}"
    )


if __name__ == "__main__":
    sys.exit(main())
