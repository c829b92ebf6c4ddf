"""Initial weights of a backbone from a PyTorch file."""

from __future__ import annotations

import os

import tf_keras

from libra_tf.errors import UserError
from libra_tf.layers.torch_resnet import TorchResNet
from libra_tf.torch_files.state_dict import read_state_dict
from libra_tf.weights.averages import choose_averages
from libra_tf.weights.names import BACKBONE, backbone_names
from libra_tf.weights.slots import backbone_slots
from libra_tf.weights.weight_matching import assign_weights, match_weights

SUFFIXES = (".pth", ".pt")


def is_torch_file(path: str) -> bool:
    """Whether a path is that of a PyTorch checkpoint, by its ending."""
    return path.lower().endswith(SUFFIXES)


def load_backbone(path: str | os.PathLike, backbone: tf_keras.Model) -> int:
    """Sets all weights of a `TorchResNet`.

    Args:
        path: file with the ResNet or ResNeXt of torchvision, or with a detector of
            mmdetection, whose backbone is taken.
        backbone: of the same depth and width.

    Returns:
        The number of variables.

    Raises:
        UserError: the file cannot be read, or does not fit; nothing is set then.
    """
    path = os.fspath(path)
    if not isinstance(backbone, TorchResNet):
        raise UserError(
            f"{path}: PyTorch's weights go with task.model.backbone.type torch_resnet; "
            "the backbones of Model Garden compute with other padding, and need a "
            "TensorFlow checkpoint"
        )
    state, _ = choose_averages(read_state_dict(path), ema=False)
    names = backbone_names(state.tensors, path)
    slots = dict(backbone_slots(backbone, BACKBONE))
    matches = match_weights(state, names, slots, "the backbone")
    assign_weights(state, matches)
    return len(matches)
