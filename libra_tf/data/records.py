"""What every reader of annotations returns, whatever the file format.

Boxes are COCO's `(x, y, width, height)` in pixels, the corner of the image at 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from libra_tf.data.faults import Fault
from libra_tf.data.findings import Findings

Bbox = tuple[float, float, float, float]
# COCO's three spellings: polygons [[x0, y0, x1, y1, ...], ...], run lengths
# {"size": [h, w], "counts": [int, ...]} and the same with a compressed string.
Segmentation = list[list[float]] | dict[str, Any]
# An id as the file writes it. Where a record's `file_id` is None, its `id` is that.
FileId = int | str


@dataclass(frozen=True, slots=True)
class Category:
    """A class; id 0 is the background of Model Garden.

    A reader may return a class of id 0; `ids.settle_zero` drops or moves it.
    """

    id: int
    name: str
    file_id: FileId | None = None


@dataclass(frozen=True, slots=True)
class Annotation:
    """One object. `area` is in square pixels, of the mask where there is one.

    `label` tells people where it stands, if its id does not.
    """

    id: int
    category_id: int
    bbox: Bbox
    area: float
    iscrowd: bool = False
    segmentation: Segmentation | None = None
    file_id: FileId | None = None
    label: str = ""

    @property
    def name(self) -> FileId:
        """What people find it by in the file."""
        if self.label:
            return self.label
        return self.id if self.file_id is None else self.file_id


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image file, named relative to its image folder, and its objects.

    Width and height are 0 where the file does not tell; see `pictures.fill_sizes`.
    """

    id: int
    file_name: str
    width: int
    height: int
    annotations: tuple[Annotation, ...] = ()
    file_id: FileId | None = None

    def __str__(self) -> str:
        key = self.id if self.file_id is None else self.file_id
        return f"image {key} ({self.file_name})"


@dataclass(frozen=True, slots=True)
class Dataset:
    """One split: the categories in order of id, the images in order of the file.

    Attributes:
        source: the file or folder it was read from.
        categories: in order of id.
        images: in order of the file.
        findings: what was mended while reading.
        faults: what cannot be used; the records at fault are not in `images`.
            `convert` refuses them, or leaves the pictures out.
    """

    source: str
    categories: tuple[Category, ...]
    images: tuple[ImageRecord, ...]
    findings: Findings = field(default_factory=Findings, compare=False)
    faults: tuple[Fault, ...] = field(default=(), compare=False)

    @property
    def has_masks(self) -> bool:
        """Whether any object carries a segmentation."""
        return any(a.segmentation for i in self.images for a in i.annotations)
