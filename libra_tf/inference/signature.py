"""What a SavedModel's signature has to take and give, to be used as a detector."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from libra_tf.errors import UserError

# B images, K detections.
_OUTPUTS = {
    "detection_boxes": [None, None, 4],
    "detection_classes": [None, None],
    "detection_scores": [None, None],
    "num_detections": None,  # of any shape
    "image_info": [None, 4, 2],
}


def input_of(serve: Any, folder: str) -> str:
    """Returns the name of the input of a signature, which takes images.

    Args:
        serve: signature of a SavedModel.
        folder: of the SavedModel, for messages.

    Raises:
        UserError: it takes something else than one batch of images, or gives something
            else than Model Garden's detections.
    """
    inputs = serve.structured_input_signature[1]
    if len(inputs) != 1:
        named = f" ({', '.join(sorted(inputs))})" if inputs else ""
        raise UserError(
            f"{folder}: its default signature takes {len(inputs)} inputs{named}, not "
            "one batch of images; export a detector with input type image_tensor"
        )
    ((name, spec),) = inputs.items()
    _check_images(spec, folder)
    _check_outputs(serve.structured_outputs, folder)
    return name


def _check_images(spec: tf.TensorSpec, folder: str) -> None:
    if spec.dtype != tf.uint8:
        raise UserError(
            f"{folder}: its default signature takes {spec.dtype.name}, not images; "
            "export with input type image_tensor"
        )
    if spec.shape.rank != 4 or spec.shape[3] not in (None, 3):
        raise UserError(f"{folder}: takes no batches of images [B, H, W, 3]")
    if spec.shape[0] not in (None, 1):
        raise UserError(
            f"{folder}: takes batches of {spec.shape[0]} only; export with batch size 1"
        )


def _check_outputs(outputs: Any, folder: str) -> None:
    specs = outputs if isinstance(outputs, dict) else {}
    for name, shape in _OUTPUTS.items():
        if name not in specs:
            raise UserError(
                f"{folder}: its default signature gives no {name}, so it is no "
                "detector; export one with `libra export`"
            )
        spec, wanted = specs[name], tf.TensorShape(shape)
        is_number = spec.dtype.is_floating or spec.dtype.is_integer
        if not (is_number and spec.shape.is_compatible_with(wanted)):
            raise UserError(
                f"{folder}: its {name} are {spec.dtype.name} {list(spec.shape)}, not "
                f"numbers {shape or ''}; export a detector with `libra export`"
            )
