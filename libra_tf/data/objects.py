"""How many objects the images of a split have and how large they are, as arrays.

Shape shorthand in this module: N images, M objects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from libra_tf.data.manifest import SplitFiles
from libra_tf.errors import UserError
from libra_tf.files.json_files import read_json


@dataclass(frozen=True)
class SplitObjects:
    """Images and objects of one split; sides are height and width in pixels.

    Attributes:
        name: of the split.
        image_sides: `float64` [N, 2].
        file_names: N names.
        image_rows: `int64` [M], which image an object is in.
        sides: `float64` [M, 2].
        is_crowd: `bool` [M].
        category_ids: `int64` [M].
    """

    name: str
    image_sides: np.ndarray
    file_names: tuple[str, ...]
    image_rows: np.ndarray
    sides: np.ndarray
    is_crowd: np.ndarray
    category_ids: np.ndarray

    def per_image(self, with_crowds: bool = True) -> np.ndarray:
        """Number of objects of each image, [N]."""
        rows = self.image_rows if with_crowds else self.image_rows[~self.is_crowd]
        return np.bincount(rows, minlength=len(self.image_sides))

    def beyond(self, limit: int) -> np.ndarray:
        """Number of objects of each image, [N], that a limit for each class leaves out.

        Args:
            limit: objects of one image and class; crowds do not count.
        """
        pairs = np.stack([self.image_rows, self.category_ids])[:, ~self.is_crowd]
        (rows, _), counts = np.unique(pairs, axis=1, return_counts=True)
        over = np.maximum(counts - limit, 0)
        lost = np.zeros(len(self.image_sides), np.int64)
        np.add.at(lost, rows, over)
        return lost


def read_objects(split: SplitFiles) -> SplitObjects:
    """Reads the COCO file of a converted split.

    Raises:
        UserError: it is not one.
    """
    content = read_json(split.annotation_file)
    try:
        return _arrays(split.name, content["images"], content["annotations"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{split.annotation_file}: not a COCO annotation file ({error!r}); convert "
            f"split {split.name} again"
        ) from error


def _arrays(
    name: str, images: list[Mapping[str, Any]], objects: list[Mapping[str, Any]]
) -> SplitObjects:
    rows = {image["id"]: row for row, image in enumerate(images)}
    sides = [(image["height"], image["width"]) for image in images]
    boxes = np.array([each["bbox"] for each in objects], np.float64).reshape(-1, 4)
    return SplitObjects(
        name=name,
        image_sides=np.array(sides, np.float64).reshape(-1, 2),
        file_names=tuple(image["file_name"] for image in images),
        image_rows=np.array([rows[each["image_id"]] for each in objects], np.int64),
        sides=boxes[:, :1:-1],
        is_crowd=np.array([bool(each.get("iscrowd")) for each in objects], bool),
        category_ids=np.array([each["category_id"] for each in objects], np.int64),
    )


def count_per_image(counts: Iterable[int]) -> dict[str, int]:
    """Number of images by their number of objects, for `dataset.json`."""
    return {str(count): n for count, n in sorted(Counter(counts).items())}


def most_per_image(split: SplitFiles) -> int:
    """Number of objects of the fullest image.

    From `dataset.json`; from the COCO file where an earlier version wrote it.
    """
    known = split.objects_per_image
    if known is None:
        return int(read_objects(split).per_image().max(initial=0))
    return max(known, default=0)
