"""Names and shapes of all weights of a published detector, before anything is built.

A few bytes can tell of a layer of any size: what a file tells of its detector is held
against all that is in the file before memory is taken for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from libra_tf.layers.torch_resnet import STAGE_BLOCKS, ResNetShape
from libra_tf.weights.architecture import Architecture

_NORM = ("weight", "bias", "running_mean", "running_var")
_COORDINATES = 4

Shape = tuple[int, ...]
_Shapes = Iterator[tuple[str, Shape]]


def published_shapes(architecture: Architecture) -> dict[str, Shape]:
    """Returns the shapes by the names of mmdetection 3, without `num_batches_tracked`.

    Args:
        architecture: of the detector; sizes may be any.
    """
    resnet = ResNetShape(
        architecture.depth,
        architecture.base_channels,
        architecture.groups,
        architecture.width_per_group,
    )
    heads = _rcnn(architecture) if architecture.is_two_stage else _retina(architecture)
    return dict([*_backbone(resnet), *_neck(architecture, resnet), *heads])


def _backbone(resnet: ResNetShape) -> _Shapes:
    stem = resnet.base_channels
    yield "backbone.conv1.weight", (stem, 3, 7, 7)
    yield from _norm("backbone.bn1", stem)
    inputs = stem
    for stage, blocks in enumerate(STAGE_BLOCKS[resnet.depth]):
        inner, outer = resnet.inner(stage), resnet.outer(stage)
        for block in range(blocks):
            prefix = f"backbone.layer{stage + 1}.{block}"
            yield f"{prefix}.conv1.weight", (inner, inputs, 1, 1)
            yield f"{prefix}.conv2.weight", (inner, inner // resnet.groups, 3, 3)
            yield f"{prefix}.conv3.weight", (outer, inner, 1, 1)
            for number, channels in enumerate((inner, inner, outer), start=1):
                yield from _norm(f"{prefix}.bn{number}", channels)
            if block == 0:
                yield f"{prefix}.downsample.0.weight", (outer, inputs, 1, 1)
                yield from _norm(f"{prefix}.downsample.1", outer)
            inputs = outer


def _neck(architecture: Architecture, resnet: ResNetShape) -> _Shapes:
    fpn, is_rcnn = architecture.fpn_channels, architecture.is_two_stage
    stages = [resnet.outer(stage) for stage in range(0 if is_rcnn else 1, 4)]
    inputs = [fpn] * len(stages)
    if architecture.extra_levels != "max_pool":
        on_input = architecture.extra_levels == "on_input"
        inputs += [stages[-1] if on_input else fpn] + ([] if is_rcnn else [fpn])
    for k, channels in enumerate(stages):
        yield from _conv(f"neck.0.lateral_convs.{k}.conv", fpn, channels, 1)
    for k, channels in enumerate(inputs):
        yield from _conv(f"neck.0.fpn_convs.{k}.conv", fpn, channels, 3)
    if architecture.refine == "conv":
        yield from _conv("neck.1.refine.conv", fpn, fpn, 3)
        return
    for part in ("g", "theta", "phi", "conv_out"):
        yield from _conv(f"neck.1.refine.{part}.conv", fpn, fpn, 1)


def _rcnn(architecture: Architecture) -> _Shapes:
    anchors, channels = architecture.num_anchors, architecture.rpn_channels
    yield from _conv("rpn_head.rpn_conv", channels, architecture.fpn_channels, 3)
    yield from _conv("rpn_head.rpn_cls", anchors, channels, 1)
    yield from _conv("rpn_head.rpn_reg", _COORDINATES * anchors, channels, 1)
    head, classes = "roi_head.bbox_head", architecture.num_classes
    inputs = architecture.fpn_channels * architecture.roi_size**2
    for k in range(architecture.num_fcs):
        yield from _linear(f"{head}.shared_fcs.{k}", architecture.fc_channels, inputs)
        inputs = architecture.fc_channels
    yield from _linear(f"{head}.fc_cls", classes + 1, inputs)
    yield from _linear(f"{head}.fc_reg", _COORDINATES * classes, inputs)


def _retina(architecture: Architecture) -> _Shapes:
    anchors, channels = architecture.num_anchors, architecture.head_channels
    for tower in ("cls", "reg"):
        inputs = architecture.fpn_channels
        for k in range(architecture.head_convs):
            yield from _conv(f"bbox_head.{tower}_convs.{k}.conv", channels, inputs, 3)
            inputs = channels
    scores = anchors * architecture.num_classes
    yield from _conv("bbox_head.retina_cls", scores, channels, 3)
    yield from _conv("bbox_head.retina_reg", _COORDINATES * anchors, channels, 3)


def _conv(name: str, outputs: int, inputs: int, size: int) -> _Shapes:
    yield f"{name}.weight", (outputs, inputs, size, size)
    yield f"{name}.bias", (outputs,)


def _linear(name: str, outputs: int, inputs: int) -> _Shapes:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _norm(name: str, channels: int) -> _Shapes:
    for part in _NORM:
        yield f"{name}.{part}", (channels,)
