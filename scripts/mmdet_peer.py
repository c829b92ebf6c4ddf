"""What mmdetection does, for the scripts beside this one: run with its interpreter.

    python scripts/mmdet_peer.py time faster_rcnn_r50 --repeats 3
    python scripts/mmdet_peer.py detect faster_rcnn_r50 --image a.png --out folder

`time` prints seconds and memory of `inference_detector` on an 800x1333 image as JSON.
`detect` writes OUT/weights.pth, a detector of mmdetection's own config with random
weights, and OUT/detections.npz, what it finds in the image. mmdetection 3 and mmcv 2.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np

PEER = __file__  # run it by another interpreter
HEIGHT, WIDTH = 800, 1333
CONFIGS = {
    "faster_rcnn_r50": "libra-faster-rcnn_r50_fpn_1x_coco",
    "faster_rcnn_r101": "libra-faster-rcnn_r101_fpn_1x_coco",
    "faster_rcnn_x101_64x4d": "libra-faster-rcnn_x101-64x4d_fpn_1x_coco",
    "retinanet_r50": "libra-retinanet_r50_fpn_1x_coco",
}
# Standard deviation and mean of what the last layers put out, on the finest level. The
# coarser levels of random weights spread more; scores of exactly 1 would be ties, which
# any program may order as it likes.
SPREADS = {
    "rpn_cls": (0.3, 0.0),
    "rpn_reg": (0.3, 0.0),
    "fc_cls": (1.5, 0.0),
    "fc_reg": (1.0, 0.0),
    "retina_cls": (1.0, -4.0),
    "retina_reg": (0.3, 0.0),
}


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("time", "detect"))
    parser.add_argument("name", choices=CONFIGS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--image", help="file to detect in")
    parser.add_argument("--out", help="folder for the weights and the detections")
    parser.add_argument("--seed", type=int, default=0, help="of the weights")
    args = parser.parse_args()
    if args.action == "time":
        model = build(args.name)
        print(json.dumps(measure(lambda: infer(model, random_image()), args.repeats)))
    else:
        detect(args)
    return 0


def run_process(words: list[str]) -> str:
    """Returns what a process prints; one that fails ends this one with its error."""
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: {done.stderr[-2000:]}")
    return done.stdout


def build(name: str):
    """Returns mmdetection's detector with the weights that its config starts from."""
    import torch
    from mmdet.apis import init_detector
    from mmengine.utils import get_installed_path

    folder = os.path.join(get_installed_path("mmdet"), ".mim/configs/libra_rcnn")
    path = os.path.join(folder, f"{CONFIGS[name]}.py")
    torch.set_num_threads(os.cpu_count() or 1)
    options = {"model.backbone.init_cfg": None}
    return init_detector(path, None, device="cpu", cfg_options=options)


def infer(model, image):
    """Returns mmdetection's detections in an image file, or an array in BGR."""
    from mmdet.apis import inference_detector

    return inference_detector(model, image).pred_instances


def detect(args: argparse.Namespace) -> None:
    """Writes random weights and what they detect, see the module."""
    import torch

    model = build(args.name)
    torch.manual_seed(args.seed)
    randomize(model)
    spread_outputs(model, args.image)
    torch.save({"state_dict": model.state_dict()}, f"{args.out}/weights.pth")
    found = infer(model, args.image)
    fields = {key: found[key].numpy() for key in ("bboxes", "scores", "labels")}
    np.savez(f"{args.out}/detections.npz", **fields)


def randomize(model) -> None:
    """Weights of all layers, the statistics of BatchNorm too, at random."""
    import torch

    with torch.no_grad():
        for name, value in model.state_dict().items():
            layer, _, kind = name.rpartition(".")
            if kind == "running_var":
                value.uniform_(0.8, 1.2)
            elif value.ndim == 1 and kind == "weight":
                # The last of a block: what is added stays small.
                value.uniform_(0.1, 0.3) if layer.endswith("bn3") else value.fill_(1.0)
            elif value.ndim == 1:
                value.normal_(0.0, 0.1)
            elif value.ndim > 1:
                value.normal_(0.0, np.sqrt(2.0 / np.prod(value.shape[1:])))


def spread_outputs(model, image: str) -> None:
    """Scales the last layers, so that scores are neither all alike nor all 0 and 1."""
    import torch

    def spread_once(layer, inputs, outputs):
        hooks.pop(layer).remove()
        std, mean = SPREADS[names[layer]]
        bias = layer.bias.reshape(-1, *[1] * (outputs.ndim - 2))
        rows = (outputs - bias).transpose(0, 1).flatten(1)
        scale = std / (rows - rows.mean(1, keepdim=True)).std()
        with torch.no_grad():
            layer.weight *= scale
            layer.bias.copy_(mean - scale * rows.mean(1))
        return layer(*inputs)

    names = {layer: name.split(".")[-1] for name, layer in model.named_modules()}
    hooks = {
        layer: layer.register_forward_hook(spread_once)
        for layer, name in names.items()
        if name in SPREADS
    }
    infer(model, image)


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
    """Returns the image that both programs are timed on, uint8 [800, 1333, 3]."""
    shape = (HEIGHT, WIDTH, 3)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
