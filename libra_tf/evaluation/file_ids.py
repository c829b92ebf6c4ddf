"""Ids as the source of a data set writes them, in detections that are saved or read.

A converted annotation file has another number for a category or image whose own id
could not stay (0, a text, a huge number), and tells that own id as `file_id`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from libra_tf.data.coco_records import HAS_FILE_IDS
from libra_tf.data.records import FileId

Records = list[dict[str, Any]]


@dataclass(frozen=True)
class FileIds:
    """The file's own id of the images and categories that have another number."""

    images: Mapping[int, FileId] = field(default_factory=dict)
    categories: Mapping[int, FileId] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> FileIds:
        """Returns those that a converted file tells; of another file, none.

        Somebody else's field of that name means something else.
        """
        info = data.get("info")
        if not isinstance(info, dict) or info.get(HAS_FILE_IDS) is not True:
            return cls()
        return cls(_told(data["images"]), _told(data["categories"]))

    def own_images(self, numbers: Iterable[int]) -> set[FileId]:
        """Returns the file's own ids of images."""
        return {self.images.get(number, number) for number in numbers}

    def own_categories(self, numbers: Iterable[int]) -> set[FileId]:
        """Returns the file's own ids of categories."""
        return {self.categories.get(number, number) for number in numbers}

    def write(self, results: Records) -> Records:
        """Returns COCO results with the file's own ids."""
        return _mapped(results, self.images, self.categories)

    def read(self, results: Records) -> Records:
        """Returns COCO results that have the file's own ids with our numbers."""
        return _mapped(results, _turned(self.images), _turned(self.categories))


def _told(records: Records) -> dict[int, FileId]:
    return {r["id"]: r["file_id"] for r in records if r.get("file_id") is not None}


def _turned(ids: Mapping[int, FileId]) -> dict[FileId, int]:
    return {own: number for number, own in ids.items()}


def _mapped(
    results: Records, images: Mapping[Any, Any], categories: Mapping[Any, Any]
) -> Records:
    """Returns the results with the ids that a mapping has replaced."""
    if not images and not categories:
        return results
    mappings = {"image_id": images, "category_id": categories}
    return [
        {
            name: mappings[name].get(value, value) if name in mappings else value
            for name, value in result.items()
        }
        for result in results
    ]
