"""Keeps the first stages of a backbone at their initial weights."""

from __future__ import annotations

import tf_keras

FIRST_LEVEL = 2  # conv2_x, "block_group_l2" in Model Garden, has stride 2**2


def freeze_stages(backbone: tf_keras.Model, num_stages: int) -> None:
    """Makes the stem and the first `num_stages` residual stages untrainable.

    Args:
        backbone: a Model Garden ResNet, whose stages end in a layer called
            "block_group_l2" to "block_group_l5".
        num_stages: 0 (nothing) to 4 (everything).

    Raises:
        ValueError: the backbone has no such layer.
    """
    if num_stages == 0:
        return
    last = f"block_group_l{FIRST_LEVEL + num_stages - 1}"
    names = [layer.name for layer in backbone.layers]
    if last not in names:
        raise ValueError(
            f"{num_stages} stages end in the layer {last}, which {backbone.name} does "
            "not have: it must be a ResNet"
        )
    for layer in backbone.layers[: names.index(last) + 1]:
        layer.trainable = False
