"""State dicts with the names and shapes of published detectors, and random numbers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
COUNTER = "num_batches_tracked"

Shapes = dict[str, tuple[int, ...]]


def resnet_shapes(
    depth: int = 50, base: int = 64, groups: int = 1, per_group: int = 4
) -> Shapes:
    """Of a ResNet or ResNeXt, with torchvision's names, without classifier."""
    shapes = {"conv1.weight": (base, 3, 7, 7), **_norm("bn1", base)}
    inputs = base
    for stage, blocks in enumerate(BLOCKS[depth]):
        outer = 4 * base * 2**stage
        inner = base * 2**stage if groups == 1 else groups * per_group * 2**stage
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}"
            kernels = {
                "1": (inner, inputs, 1, 1),
                "2": (inner, inner // groups, 3, 3),
                "3": (outer, inner, 1, 1),
            }
            for number, kernel in kernels.items():
                shapes[f"{name}.conv{number}.weight"] = kernel
                shapes |= _norm(f"{name}.bn{number}", kernel[0])
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (outer, inputs, 1, 1)
                shapes |= _norm(f"{name}.downsample.1", outer)
            inputs = outer
    return shapes


def detector_shapes(
    detector: str,
    *,
    depth: int = 50,
    base: int = 64,
    groups: int = 1,
    per_group: int = 4,
    fpn: int = 256,
    classes: int = 80,
    fc: int = 1024,
) -> Shapes:
    """Of "faster_rcnn" or "retinanet", with mmdetection 3's names."""
    backbone = resnet_shapes(depth, base, groups, per_group)
    shapes = {f"backbone.{name}": shape for name, shape in backbone.items()}
    stages = [4 * base * 2**k for k in range(4)]
    is_rcnn = detector == "faster_rcnn"
    laterals = stages if is_rcnn else stages[1:]
    for k, channels in enumerate(laterals):
        shapes |= _conv(f"neck.0.lateral_convs.{k}.conv", fpn, channels, 1)
    outputs = [fpn] * len(laterals) + ([] if is_rcnn else [stages[-1], fpn])
    for k, channels in enumerate(outputs):
        shapes |= _conv(f"neck.0.fpn_convs.{k}.conv", fpn, channels, 3)
    for part in ("g", "conv_out", "theta", "phi"):
        shapes |= _conv(f"neck.1.refine.{part}.conv", fpn, fpn, 1)
    if not is_rcnn:
        for tower in ("cls_convs", "reg_convs"):
            for k in range(4):
                shapes |= _conv(f"bbox_head.{tower}.{k}.conv", fpn, fpn, 3)
        shapes |= _conv("bbox_head.retina_cls", 9 * classes, fpn, 3)
        return shapes | _conv("bbox_head.retina_reg", 9 * 4, fpn, 3)
    shapes |= _conv("rpn_head.rpn_conv", fpn, fpn, 3)
    shapes |= _conv("rpn_head.rpn_cls", 3, fpn, 1)
    shapes |= _conv("rpn_head.rpn_reg", 12, fpn, 1)
    linear = {
        "fc_cls": (classes + 1, fc),
        "fc_reg": (4 * classes, fc),
        "shared_fcs.0": (fc, fpn * 49),
        "shared_fcs.1": (fc, fc),
    }
    for name, shape in linear.items():
        shapes[f"roi_head.bbox_head.{name}.weight"] = shape
        shapes[f"roi_head.bbox_head.{name}.bias"] = shape[:1]
    return shapes


def random_weights(shapes: Shapes, seed: int = 0) -> dict[str, np.ndarray]:
    """Numbers that keep the size of what goes through them."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in shapes.items():
        if name.endswith(COUNTER):
            weights[name] = np.asarray(7)
            continue
        noise = rng.standard_normal(shape, np.float32)
        if name.endswith("running_var") or (len(shape) == 1 and "weight" in name):
            weights[name] = 1 + 0.1 * np.abs(noise)
        elif len(shape) == 1:
            weights[name] = 0.1 * noise
        else:
            weights[name] = noise / np.float32(np.sqrt(np.prod(shape[1:])))
    return weights


def count(shapes: Iterable[tuple[int, ...]]) -> int:
    """Numbers in tensors of these shapes."""
    return sum(int(np.prod(shape)) for shape in shapes)


def _conv(name: str, outputs: int, inputs: int, size: int) -> Shapes:
    return {
        f"{name}.weight": (outputs, inputs, size, size),
        f"{name}.bias": (outputs,),
    }


def _norm(name: str, channels: int) -> Shapes:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{p}": (channels,) for p in parts}, f"{name}.{COUNTER}": ()}
