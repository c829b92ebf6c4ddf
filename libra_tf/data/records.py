"""What every reader of annotations returns, whatever the file format.

Boxes are COCO's `(x, y, width, height)` in pixels, the corner of the image at 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from libra_tf.data.findings import Findings

Bbox = tuple[float, float, float, float]
# COCO's three spellings: polygons [[x0, y0, x1, y1, ...], ...], run lengths
# {"size": [h, w], "counts": [int, ...]} and the same with a compressed string.
Segmentation = list[list[float]] | dict[str, Any]
# An id as the file writes it. Where a record's `file_id` is None, its `id` is that.
FileId = int | str


@dataclass(frozen=True, slots=True)
class Category:
    """A class; id 0 is the background of Model Garden and never occurs here."""

    id: int
    name: str
    file_id: FileId | None = None


@dataclass(frozen=True, slots=True)
class Annotation:
    """One object. `area` is in square pixels, of the mask where there is one."""

    id: int
    category_id: int
    bbox: Bbox
    area: float
    iscrowd: bool = False
    segmentation: Segmentation | None = None


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image file, named relative to its image folder, and its objects."""

    id: int
    file_name: str
    width: int
    height: int
    annotations: tuple[Annotation, ...] = ()

    def __str__(self) -> str:
        return f"image {self.id} ({self.file_name})"


@dataclass(frozen=True, slots=True)
class Dataset:
    """One split: the categories in order of id, the images in order of the file.

    `findings` is what the reader mended or wondered at.
    """

    source: str
    categories: tuple[Category, ...]
    images: tuple[ImageRecord, ...]
    findings: Findings = field(default_factory=Findings, compare=False)

    @property
    def has_masks(self) -> bool:
        """Whether any object carries a segmentation."""
        return any(a.segmentation for i in self.images for a in i.annotations)
