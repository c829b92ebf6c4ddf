"""Finds YOLO's label files in a folder, and which split each is.

`data.yaml` (or another YAML file with `names` and `train`) tells the folders or lists
of each split, as Ultralytics and Roboflow write it. Without one, `classes.txt` or
`obj.names` has the names of the classes, lists such as `train.txt` or folders that are
called as splits part the set, and else it is one whole. The labels of
`images/train/a.jpg` are in `labels/train/a.txt`, or beside the picture.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from libra_tf.data.faults import Fault
from libra_tf.data.folder_listing import Listing
from libra_tf.data.image_folders import IMAGE_FOLDERS
from libra_tf.data.image_names import SUFFIXES
from libra_tf.data.records import Dataset
from libra_tf.data.split_names import UNSPLIT, exact_split, split_name
from libra_tf.data.yolo import LabelFormat, read_labels
from libra_tf.data.yolo_description import Description, find_description
from libra_tf.errors import UserError

SUFFIX = ".txt"
LABEL_FOLDERS = ("labels", "Labels", "label")


@dataclass(frozen=True)
class YoloSource:
    """One split before conversion: its pictures with their label files.

    `is_told` says whether a list or YAML file tells which pictures are meant.
    """

    name: str
    origin: Path
    pictures: tuple[tuple[Path, Path | None], ...]
    without_picture: tuple[Path, ...]
    labels: LabelFormat
    is_told: bool
    suffix: ClassVar[str] = SUFFIX

    def read(self, difficult: str) -> tuple[Dataset, Path]:
        """Returns the records and the image folder; `difficult` is VOC's."""
        if all(file is None for _, file in self.pictures):
            raise UserError(
                f"{self.origin}: none of its {len(self.pictures)} pictures has a label "
                f"file, such as {_label_paths(self.pictures[0][0])[0]}"
            )
        folders = [picture.parent for picture, _ in self.pictures]
        image_dir = Path(os.path.commonpath(folders))
        dataset = read_labels(self.pictures, image_dir, str(self.origin), self.labels)
        faults = [
            Fault(f"{file}: there is no picture of this name", str(file), file.name)
            for file in self.without_picture
        ]
        return replace(dataset, faults=(*dataset.faults, *faults)), image_dir


def find_yolo(listing: Listing) -> list[YoloSource]:
    """Returns the splits of YOLO's layout.

    Raises:
        UserError: the description of the set is broken, or names what is not there.
    """
    description = find_description(listing)
    if description is None:
        return []
    pictures = listing.with_suffix(*SUFFIXES)
    texts = frozenset(listing.with_suffix(SUFFIX))
    splits = {
        raw: tuple((picture, _label_file(picture, texts)) for picture in found)
        for raw, found in _splits(description, listing, pictures)
    }
    unused = texts - {file for pairs in splits.values() for _, file in pairs}
    sources = []
    for raw, pairs in splits.items():
        if any(file for _, file in pairs) or description.tells_splits:
            lost = _without_picture([picture for picture, _ in pairs], unused)
            origin = description.origins.get(raw, listing.root)
            name = UNSPLIT if raw == UNSPLIT else split_name(raw)
            sources.append(
                YoloSource(
                    name,
                    origin,
                    pairs,
                    lost,
                    description.labels,
                    description.tells_splits,
                )
            )
    return sources


def unlabelled_pictures(listing: Listing, sources: Sequence[YoloSource]) -> list[Path]:
    """Returns the pictures in folders of splits that have no label at all."""
    if not sources or sources[0].is_told:
        return []
    used = {picture for source in sources for picture, _ in source.pictures}
    return [file for file in listing.with_suffix(*SUFFIXES) if file not in used]


def _splits(
    description: Description, listing: Listing, pictures: Sequence[Path]
) -> Iterator[tuple[str, list[Path]]]:
    """Yields the raw name and the pictures of each split that has any."""
    if description.tells_splits:
        for raw in description.origins:
            yield raw, description.pictures(raw, pictures)
        return
    groups: dict[str, list[Path]] = {}
    for picture in pictures:
        groups.setdefault(_raw_split(picture, listing.root), []).append(picture)
    yield from sorted(groups.items())


def _raw_split(picture: Path, root: Path) -> str:
    """Returns the nearest folder that is called as a split."""
    above = picture.relative_to(root).parts[-2::-1]
    return next((name for name in above if exact_split(name)), UNSPLIT)


def _label_file(picture: Path, texts: frozenset[Path]) -> Path | None:
    return next((path for path in _label_paths(picture) if path in texts), None)


def _label_paths(picture: Path) -> list[Path]:
    """Where the labels of a picture may lie, the likeliest first.

    In the folder `labels` in the place of the last `images`, below or above the
    split's, or beside the picture.
    """
    parts, own = list(picture.parent.parts), picture.with_suffix(SUFFIX)
    found = []
    for place in range(len(parts) - 1, -1, -1):
        if parts[place].lower() in IMAGE_FOLDERS:
            for name in LABEL_FOLDERS:
                folder = Path(*parts[:place], name, *parts[place + 1 :])
                found.append(folder / own.name)
    return [*found, own]


def _without_picture(pictures: Sequence[Path], unused: Set[Path]) -> tuple[Path, ...]:
    """Returns the files in the split's folders of labels that belong to no picture."""
    folders = {
        path.parent
        for picture in pictures
        for path in _label_paths(picture)
        if path.parent.name.lower() in LABEL_FOLDERS
        or path.parent.parent.name.lower() in LABEL_FOLDERS
    }
    return tuple(file for file in sorted(unused) if file.parent in folders)
