"""Published detectors in small, and what PyTorch computes with them."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras

from libra_tf.experiments.saved import override
from libra_tf.models.maskrcnn import build_maskrcnn
from libra_tf.models.retinanet import build_retinanet
from libra_tf.torch_files.state_dict import read_state_dict
from libra_tf.weights.experiment import experiment_for
from libra_tf.weights.published_detector import read_architecture
from libra_tf.weights.slots import published_layout

FOLDER = Path(__file__).parent / "golden"
FILES = {
    "faster_rcnn": "libra-faster-rcnn_r50_fpn_1x_coco",
    "retinanet": "libra-retinanet_r50_fpn_1x_coco",
}
# Of the goldens, beside the published settings.
FEWER = {
    "faster_rcnn": {
        "roi_generator": {"test_pre_nms_top_k": 200, "test_num_proposals": 100}
    },
    "retinanet": {},
}


@functools.cache
def tensors(detector: str) -> dict[str, np.ndarray]:
    """Weights by mmdetection's names."""
    state = read_state_dict(FOLDER / f"{FILES[detector]}.pth")
    _, names = read_architecture(state)
    return {ours: state.array(name) for ours, name in names.items()}


def experiment(detector: str, **changes):
    """The golden's experiment; `changes` are overrides of `task.model`."""
    state = read_state_dict(FOLDER / f"{FILES[detector]}.pth")
    architecture, _ = read_architecture(state)
    names = {i: f"class {i}" for i in range(1, architecture.num_classes + 1)}
    params = experiment_for(architecture, names)
    for model in (FEWER[detector], changes):
        override(params, {"task": {"model": model}}, "test")
    return params


def build_random(detector: str, size=(None, None), **changes) -> tf_keras.Model:
    """The golden's detector with random weights, for images of `size`."""
    config = experiment(detector, **changes).task.model
    specs = tf_keras.layers.InputSpec(shape=[None, *size, 3])
    make = build_retinanet if detector == "retinanet" else build_maskrcnn
    return make(specs, config)


def build(detector: str, size=(None, None), **changes) -> tf_keras.Model:
    """The golden's detector with its weights."""
    model = build_random(detector, size, **changes)
    weights = tensors(detector)
    for name, slot in published_layout(model).items():
        slot.variable.assign(slot.transform(weights[name]))
    return model


@functools.cache
def golden(detector: str) -> dict[str, np.ndarray]:
    """What PyTorch computed, NHWC and in order of the levels."""
    with np.load(FOLDER / f"{FILES[detector]}.npz") as file:
        return {
            name.removesuffix("_nchw"): file[name].transpose(0, 2, 3, 1)
            if name.endswith("_nchw")
            else file[name]
            for name in file.files
        }


def image(detector: str) -> tuple[tf.Tensor, tf.Tensor]:
    """The golden's image and its shape, [1, H, W, 3] and [1, 2]."""
    images = tf.constant(golden(detector)["image"])
    return images, tf.constant([images.shape[1:3]], tf.float32)


def yxyx(boxes: np.ndarray) -> np.ndarray:
    return boxes[..., [1, 0, 3, 2]]
