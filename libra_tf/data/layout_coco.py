"""Finds COCO files in a folder, and which split each is.

COCO's and CVAT's `annotations/instances_SPLIT.json`, Roboflow's
`SPLIT/_annotations.coco.json`, and any other name of a file of that content, such as
Label Studio's `result.json`: the split is a word of its name, or the folder it lies in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from libra_tf.data.coco import read_coco
from libra_tf.data.folder_listing import Listing
from libra_tf.data.image_folders import image_folders, pick_folder
from libra_tf.data.records import Dataset
from libra_tf.data.split_names import UNSPLIT, exact_split, known_split, split_name
from libra_tf.errors import UserError

PREFIX, SUFFIX = "instances_", ".json"
ROBOFLOW = "_annotations.coco.json"
# COCO's files of other tasks, which lie beside those of detection.
OTHER_TASKS = ("person_keypoints_", "captions_", "stuff_", "panoptic_", "image_info_")
KEYS = (b'"images"', b'"annotations"', b'"categories"')
MANIFEST = "dataset.json"


@dataclass(frozen=True)
class CocoSource:
    """One split before conversion: its file, and where its images may lie."""

    name: str
    origin: Path
    image_dirs: tuple[Path, ...]
    suffix: ClassVar[str] = SUFFIX

    def read(self, difficult: str) -> tuple[Dataset, Path]:
        """Returns the records and the image folder; `difficult` is VOC's."""
        dataset = read_coco(self.origin)
        names = [image.file_name for image in dataset.images]
        image_dir = pick_folder(self.image_dirs, names, self.name)
        if image_dir is None and names:
            folders = ", ".join(map(str, self.image_dirs))
            raise UserError(
                f"{self.origin}: its image {names[0]} is in none of {folders}; name "
                "the folder with --images and the file with --annotations"
            )
        return dataset, image_dir or self.image_dirs[0]


def find_coco(listing: Listing) -> list[CocoSource]:
    """Returns a source for each COCO file of detection.

    COCO's own names go first: where they are there, files of other names are not
    looked at.

    Raises:
        UserError: a JSON file cannot be read.
    """
    files = [f for f in listing.with_suffix(SUFFIX) if not _is_converted(f)]
    named = [file for file in files if _has_usual_name(file)]
    chosen = named or [file for file in files if _is_coco(file)]
    return [_source(file, listing) for file in chosen]


def left_files(listing: Listing, sources: Sequence[CocoSource]) -> list[Path]:
    """Returns the COCO files of detection that `find_coco` did not look at."""
    taken = {source.origin for source in sources}
    files = [f for f in listing.with_suffix(SUFFIX) if f not in taken]
    return [
        file
        for file in files
        if not (_is_converted(file) or file.name.lower().startswith(OTHER_TASKS))
        and _is_coco(file)
    ]


def has_usual_names(source: CocoSource) -> bool:
    """Whether the file has the name that COCO or Roboflow give."""
    return _has_usual_name(source.origin)


def _has_usual_name(file: Path) -> bool:
    name = file.name.lower()
    return name.startswith(PREFIX) or name == ROBOFLOW


def _is_coco(file: Path) -> bool:
    """Whether the words of a COCO file stand in it; reading it tells more."""
    try:
        content = file.read_bytes().replace(b"\0", b"")  # UTF-16
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error
    return all(key in content for key in KEYS)


def _is_converted(file: Path) -> bool:
    """Whether the file is of a folder that `libra data convert` wrote."""
    beside = file.with_name(MANIFEST)
    return beside.is_file() and any(file.parent.glob("*.tfrecord"))


def _source(file: Path, listing: Listing) -> CocoSource:
    raw = _raw_split(file, listing.root)
    folders = image_folders(listing, file.parent, raw)
    return CocoSource(split_name(raw), file, folders)


def _raw_split(file: Path, root: Path) -> str:
    """Returns the split as the file or a folder above it is called."""
    stem = file.name[: -len(SUFFIX)]
    own = stem[len(PREFIX) :] if stem.lower().startswith(PREFIX) else ""
    if own and own.lower() != UNSPLIT:
        return own
    if file.name.lower() != ROBOFLOW and known_split(stem):
        return stem
    above = file.relative_to(root).parts[-2::-1]
    return next((name for name in above if exact_split(name)), UNSPLIT)
