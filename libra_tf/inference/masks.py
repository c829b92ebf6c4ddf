"""Run-length encodings back to pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask


def decode_masks(encodings: list[dict[str, Any]] | None) -> np.ndarray | None:
    """Returns [K, H, W] uint8 from COCO run-length encodings; None for None."""
    if not encodings:
        return None
    return np.stack([coco_mask.decode(encoding) for encoding in encodings])
