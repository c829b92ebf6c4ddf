"""Which weight of a published PyTorch detector is which of ours, and how they turn.

convolutions      OIHW -> HWIO
linear            transposed; the first after RoIAlign takes (H, W, C), not (C, H, W)
deltas            (x, y, w, h) -> (y, x, h, w) of each anchor or class
classes           the background last (R-CNN) or absent (RetinaNet) -> first
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from libra_tf.layers import BalancedFeaturePyramid
from libra_tf.models.maskrcnn import LibraMaskRCNN
from libra_tf.models.neck import checkpoint_parts
from libra_tf.models.reference_heads import ReferenceDetectionHead, ReferenceRPNHead
from libra_tf.models.retinanet import LibraRetinaNet
from libra_tf.ops.logits import NEVER

_XYWH_TO_YXHW = [1, 0, 3, 2]
_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}

Transform = Callable[[np.ndarray], np.ndarray]


class Slot(NamedTuple):
    """Where a PyTorch tensor goes.

    Attributes:
        variable: of ours.
        shape: of the tensor in PyTorch.
        transform: makes the variable's value of the tensor.
    """

    variable: tf.Variable
    shape: tuple[int, ...]
    transform: Transform


Slots = Iterator[tuple[str, Slot]]


def published_layout(model: LibraMaskRCNN | LibraRetinaNet) -> dict[str, Slot]:
    """Returns the place of every tensor of mmdetection's state dict.

    Class i of the published detector, from 0, is our class i + 1.

    Args:
        model: a built detector whose parts have mmdetection's form, `form: reference`.

    Returns:
        Slots by the names of mmdetection 3, without `num_batches_tracked`. All
        variables of the model are there, but for states that no published detector has.

    Raises:
        ValueError: a part has no published form.
    """
    parts = checkpoint_parts(model.checkpoint_items)
    slots = dict(backbone_slots(model.backbone, "backbone."))
    slots |= _neck_slots(parts["decoder"], parts.get("neck"))
    if model.is_two_stage:
        slots |= _rpn_slots(model.rpn_head)
        (head,) = model.detection_head
        crop_size = model.roi_aligner.get_config()["crop_size"]
        slots |= _rcnn_slots(head, crop_size)
    else:
        slots |= _retinanet_slots(model.head)
    return slots


def backbone_slots(backbone: tf_keras.Model, prefix: str = "") -> Slots:
    """Yields the slots of a `TorchResNet`; without prefix, torchvision's names."""
    for layer in backbone.layers:
        if isinstance(layer, tf_keras.layers.Conv2D):
            yield f"{prefix}{layer.name}.weight", _kernel(layer.kernel)
        elif isinstance(layer, tf_keras.layers.BatchNormalization):
            for theirs, ours in _NORM.items():
                variable = getattr(layer, ours)
                yield f"{prefix}{layer.name}.{theirs}", _as_it_is(variable)


def _neck_slots(decoder: tf_keras.Model, neck: tf_keras.layers.Layer | None) -> dict:
    prefix = "neck." if neck is None else "neck.0."
    config = decoder.get_config()
    slots: dict[str, Slot] = {}
    for level in range(config["min_level"], config["max_level"] + 1):
        for theirs, ours in (("lateral_convs", "lateral"), ("fpn_convs", "output")):
            name = f"{ours}_{level}"
            if name in {layer.name for layer in decoder.layers}:
                key = f"{prefix}{theirs}.{level - config['min_level']}.conv"
                slots |= _conv_slots(decoder.get_layer(name), key)
    if neck is None:
        return slots
    if not isinstance(neck, BalancedFeaturePyramid):
        raise ValueError(f"there is no published detector with a {type(neck).__name__}")
    if neck.refine == "conv":
        return slots | _conv_slots(neck.refinement, "neck.1.refine.conv")
    if neck.refine == "non_local":
        for name in ("g", "conv_out", "theta", "phi"):
            key = f"neck.1.refine.{name}.conv"
            slots |= _conv_slots(getattr(neck.refinement, name), key)
    return slots


def _rpn_slots(head: ReferenceRPNHead) -> dict:
    convs = head._convs
    slots: dict[str, Slot] = {}
    for i, conv in enumerate(convs):
        # mmdetection nests several convolutions, and one not.
        key = "rpn_head.rpn_conv" + (f".{i}.conv" if len(convs) > 1 else "")
        slots |= _conv_slots(conv, key)
    slots |= _conv_slots(head._classifier, "rpn_head.rpn_cls")
    anchors = head.get_config()["num_anchors_per_location"]
    return slots | _conv_slots(
        head._box_regressor, "rpn_head.rpn_reg", _deltas(np.arange(anchors))
    )


def _retinanet_slots(head: tf_keras.layers.Layer) -> dict:
    config = head.get_config()
    slots: dict[str, Slot] = {}
    for theirs, convs in (
        ("cls_convs", head._cls_convs),
        ("reg_convs", head._box_convs),
    ):
        for i, conv in enumerate(convs):
            slots |= _conv_slots(conv, f"bbox_head.{theirs}.{i}.conv")
    anchors, classes = config["num_anchors_per_location"], config["num_classes"]
    # Each anchor has one class less there: there is no background.
    of_anchors = np.arange(anchors * (classes - 1)).reshape(anchors, -1)
    rows = np.pad(of_anchors, [[0, 0], [1, 0]], constant_values=-1).reshape(-1)
    slots |= _conv_slots(
        head._classifier, "bbox_head.retina_cls", rows, anchors * (classes - 1)
    )
    return slots | _conv_slots(
        head._box_regressor, "bbox_head.retina_reg", _deltas(np.arange(anchors))
    )


def _rcnn_slots(head: ReferenceDetectionHead, crop_size: int) -> dict:
    config, prefix = head.get_config(), "roi_head.bbox_head."
    slots: dict[str, Slot] = {}
    for i, conv in enumerate(head._convs):
        slots |= _conv_slots(conv, f"{prefix}shared_convs.{i}.conv")
    for i, dense in enumerate(head._fcs):
        side = crop_size if i == 0 else None
        slots |= _dense_slots(dense, f"{prefix}shared_fcs.{i}", side=side)
    classes = np.arange(config["num_classes"])
    slots |= _dense_slots(
        # The background is the last of theirs and the first of ours.
        head._classifier, f"{prefix}fc_cls", rows=np.roll(classes, 1)
    )  # fmt: skip
    # It has no box there.
    owners = np.arange(1) if config["class_agnostic_bbox_pred"] else classes - 1
    return slots | _dense_slots(
        head._box_regressor,
        f"{prefix}fc_reg",
        rows=_deltas(owners),
        size=4 * int(np.sum(owners >= 0)),
        missing=0.0,
    )


def _deltas(owners: np.ndarray) -> np.ndarray:
    """Row in PyTorch of each delta of ours, for the owner (anchor or class) in PyTorch.

    -1 for an owner that is not there.
    """
    rows = 4 * owners[:, np.newaxis] + np.array(_XYWH_TO_YXHW)
    return np.where(owners[:, np.newaxis] < 0, -1, rows).reshape(-1)


def _conv_slots(
    conv: tf_keras.layers.Conv2D,
    key: str,
    rows: np.ndarray | None = None,
    size: int | None = None,
) -> dict[str, Slot]:
    kernel = _kernel(conv.kernel)
    count = conv.kernel.shape[3] if size is None else size
    shape = (count, *kernel.shape[1:])
    return {
        f"{key}.weight": Slot(
            conv.kernel, shape, _after(_rows(rows), kernel.transform)
        ),
        # RetinaNet's class 0, of which no published detector knows.
        f"{key}.bias": Slot(conv.bias, (count,), _rows(rows, NEVER)),
    }


def _dense_slots(
    dense: tf_keras.layers.Dense,
    key: str,
    *,
    rows: np.ndarray | None = None,
    size: int | None = None,
    missing: float = NEVER,
    side: int | None = None,
) -> dict[str, Slot]:
    inputs, outputs = dense.kernel.shape
    count = outputs if size is None else int(size)

    def turn(x: np.ndarray) -> np.ndarray:
        if side is not None:  # (C, H, W) -> (H, W, C)
            x = x.reshape(len(x), -1, side, side).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(x.reshape(len(x), -1).T)

    return {
        f"{key}.weight": Slot(dense.kernel, (count, inputs), _after(_rows(rows), turn)),
        f"{key}.bias": Slot(dense.bias, (count,), _rows(rows, missing)),
    }


def _rows(rows: np.ndarray | None, missing: float = 0.0) -> Transform:
    """Takes these rows; -1 is a row that is filled with `missing`."""

    def take(x: np.ndarray) -> np.ndarray:
        if rows is None:
            return x
        taken = np.asarray(x)[np.maximum(rows, 0)]
        taken[rows < 0] = missing
        return taken

    return take


def _after(first: Transform, second: Transform) -> Transform:
    return lambda x: second(first(x))


def _kernel(variable: tf.Variable) -> Slot:
    height, width, inputs, outputs = variable.shape
    return Slot(
        variable,
        (outputs, inputs, height, width),
        lambda x: np.ascontiguousarray(x.transpose(2, 3, 1, 0)),
    )


def _as_it_is(variable: tf.Variable) -> Slot:
    return Slot(variable, tuple(variable.shape), lambda x: x)
