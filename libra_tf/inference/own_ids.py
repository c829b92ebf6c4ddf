"""Ids that an annotation file has for images and classes that a detector looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from libra_tf.data.records import FileId
from libra_tf.errors import UserError
from libra_tf.evaluation.file_ids import FileIds
from libra_tf.files.json_files import read_json


@dataclass(frozen=True)
class OwnIds:
    """The ids of a COCO file, as its source wrote them.

    Attributes:
        path: of the file.
        images: id of each `file_name`.
        classes: id of each class's name.
    """

    path: str
    images: Mapping[str, FileId]
    classes: Mapping[str, FileId]

    def of_image(self, path: Path) -> FileId:
        """Returns the id of the one image whose `file_name` is the end of `path`.

        Raises:
            UserError: there is none, or several.
        """
        ends = ["/".join(path.parts[-n:]) for n in range(1, len(path.parts) + 1)]
        found = {self.images[end] for end in ends if end in self.images}
        if len(found) != 1:
            problem = (
                "several images fit" if found else "has no image with the file_name"
            )
            raise UserError(f"{self.path}: {problem} {path}")
        return found.pop()

    def of_classes(
        self, names: Mapping[int, str], otherwise: Mapping[int, FileId]
    ) -> dict[int, FileId]:
        """Returns the id of each class that a detector knows by name.

        Args:
            names: of the detector's classes by id.
            otherwise: ids of classes that the file does not have.

        Raises:
            UserError: the file has another class of such an id.
        """
        owners = {key: name for name, key in self.classes.items()}
        ids: dict[int, FileId] = {}
        for number, name in names.items():
            ids[number] = self.classes.get(name, otherwise.get(number, number))
            owner = owners.get(ids[number], name)
            if owner != name:
                raise UserError(
                    f"{self.path}: has no category {name!r}, which the detector finds, "
                    f"and its id {ids[number]} is {owner!r} there; add the category"
                )
        return ids


def read_own_ids(path: str) -> OwnIds:
    """Reads the ids of a COCO file; one without categories has none of classes.

    Raises:
        UserError: it is no such file.
    """
    content = read_json(path)
    try:
        content = {"categories": [], **content}
        own = FileIds.of(content)
        images = {
            str(i["file_name"]): own.images.get(i["id"], i["id"])
            for i in content["images"]
        }
        classes = {
            str(c["name"]).strip(): own.categories.get(c["id"], c["id"])
            for c in content["categories"]
        }
        hash((*images.values(), *classes.values()))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a COCO annotation file") from error
    return OwnIds(path, images, classes)
