"""Ground truth of the images that a detector looks at, to be drawn beside its boxes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from libra_tf.data.records import FileId
from libra_tf.evaluation.coco import load_ground_truth


def read_own_truth(path: str | Path) -> Mapping[FileId, np.ndarray]:
    """Returns the boxes of each image of a COCO file, by the image's own id.

    Args:
        path: of the annotations.

    Returns:
        Id, as the data set's source wrote it, to boxes [G, 4], `yxyx`, pixels.

    Raises:
        UserError: the file cannot be used.
    """
    truth = load_ground_truth(path)
    boxes: dict[int, list[list[float]]] = {image["id"]: [] for image in truth.images}
    for annotation in truth.annotations:
        x, y, width, height = annotation["bbox"]
        boxes[annotation["image_id"]].append([y, x, y + height, x + width])
    own = truth.file_ids.images
    return {own.get(i, i): np.reshape(found, (-1, 4)) for i, found in boxes.items()}
