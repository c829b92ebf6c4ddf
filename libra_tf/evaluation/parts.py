"""What one process of an evaluation saw, as bytes for the others."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from libra_tf.evaluation.batches import ImageDetections

_ARRAYS = ("boxes", "classes", "scores", "proposals")


def pack(images: Mapping[int, ImageDetections], rest: Any) -> bytes:
    """Returns bytes of the detections of images, and of anything JSON can hold.

    Numbers keep every bit.
    """
    notes: dict[str, Any] = {
        "rest": rest,
        "images": [
            {"id": i, "masks": image.masks, "num_dropped": image.num_dropped}
            for i, image in images.items()
        ],
    }
    arrays = {
        f"{i} {name}": getattr(image, name)
        for i, image in images.items()
        for name in _ARRAYS
        if getattr(image, name) is not None
    }
    text = np.frombuffer(json.dumps(notes).encode(), np.uint8)
    stream = io.BytesIO()
    np.savez(stream, notes=text, **arrays)
    return stream.getvalue()


def unpack(data: bytes) -> tuple[dict[int, ImageDetections], Any]:
    """Returns what `pack` was given."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        notes = json.loads(arrays["notes"].tobytes())
        images = {}
        for note in notes["images"]:
            i = note.pop("id")
            names = [name for name in _ARRAYS if f"{i} {name}" in arrays]
            fields = {name: arrays[f"{i} {name}"] for name in names}
            images[i] = ImageDetections(**fields, **note)
        return images, notes["rest"]
