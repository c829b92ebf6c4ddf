"""Finds Pascal VOC in a folder: by its lists, or by the folders of its XML files.

`ImageSets/Main/SPLIT.txt` parts a set; without such lists a folder that is called as a
split does (`train/a.xml`, `Annotations/train/a.xml`), and else it is one whole.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from libra_tf.data.folder_listing import Listing
from libra_tf.data.image_folders import image_folders, pick_folder
from libra_tf.data.image_names import SUFFIXES
from libra_tf.data.records import Dataset
from libra_tf.data.split_names import (
    UNSPLIT,
    exact_split,
    known_split,
    plain_name,
    split_name,
)
from libra_tf.data.voc import read_files
from libra_tf.data.voc_lists import listed_files
from libra_tf.data.voc_xml import is_voc_xml
from libra_tf.errors import UserError

ANNOTATION_FOLDERS = {
    "annotations", "annotation", "annots", "annot", "anns", "ann", "labels", "xml",
    "xmls",
}  # fmt: skip
SUFFIX = ".xml"
NUM_TRIED = 20


@dataclass(frozen=True)
class VocSource:
    """One split before conversion: its list or folder, XML files, image folders."""

    name: str
    origin: Path
    annotation_dir: Path
    xml: tuple[Path, ...]
    image_dirs: tuple[Path, ...]
    suffix: ClassVar[str] = SUFFIX

    def read(self, difficult: str) -> tuple[Dataset, Path]:
        """Returns the records and the image folder; see `read_voc`."""
        files = list(self.xml)
        if self.origin.is_file():
            files = listed_files(self.origin, self.annotation_dir, files)
        names = [
            file.relative_to(self.annotation_dir).with_suffix(".jpg").as_posix()
            for file in files
        ]
        image_dir = pick_folder(self.image_dirs, names, self.name) or self.image_dirs[0]
        dataset = read_files(
            files, self.annotation_dir, image_dir, str(self.origin), difficult
        )
        return dataset, image_dir


def find_voc(listing: Listing, split: str | None = None) -> list[VocSource]:
    """Returns the splits of Pascal VOC; those of the lists where there are some.

    Args:
        listing: of the data set.
        split: a list that is taken too, though it is called as no split.

    Raises:
        UserError: lists of several sets.
    """
    xml = listing.with_suffix(SUFFIX)
    if not any(map(is_voc_xml, xml[:NUM_TRIED])):
        return []
    return _by_lists(listing, xml, split) or _by_folders(listing, xml)


def left_pictures(listing: Listing, read: Sequence[tuple[Dataset, Path]]) -> list[Path]:
    """Returns the pictures beside those that were read, which have no XML file."""
    used = {folder / image.file_name for data, folder in read for image in data.images}
    folders = {folder for _, folder in read}
    bad = {Path(fault.file_name).stem for data, _ in read for fault in data.faults}
    return [
        file
        for file in listing.with_suffix(*SUFFIXES)
        if file not in used
        and file.stem not in bad
        and not folders.isdisjoint(file.parents)
    ]


def split_lists(listing: Listing) -> list[Path]:
    """Returns the lists of `ImageSets/Main`, or of `ImageSets`, of any name."""
    texts = listing.with_suffix(".txt")
    main = [file for file in texts if _above(file, 2) == ("imagesets", "main")]
    return main or [file for file in texts if _above(file, 1) == ("imagesets",)]


def left_lists(listing: Listing, sources: Sequence[VocSource]) -> list[Path]:
    """Returns the lists that are called as no split, nor as one class's list of one."""
    taken = {source.origin for source in sources}
    if taken.isdisjoint(lists := split_lists(listing)):
        return []
    return [file for file in lists if file not in taken and not known_split(file.stem)]


def _above(file: Path, count: int) -> tuple[str, ...]:
    return tuple(name.lower() for name in file.parts[-count - 1 : -1])


def _by_lists(listing: Listing, xml: list[Path], split: str | None) -> list[VocSource]:
    lists = split_lists(listing)
    # One class's lists, as cat_train, are no splits.
    chosen = [f for f in lists if exact_split(f.stem) or f.stem.lower() == UNSPLIT]
    chosen += [file for file in lists if file.stem == split and file not in chosen]
    roots = sorted({_set_folder(file) for file in chosen})
    if len(roots) > 1:
        raise UserError(
            f"{listing.root}: holds several sets: {', '.join(map(str, roots))}; name "
            "one of them"
        )
    if not chosen:
        return []
    folder = _annotation_folder(listing, roots[0], xml)
    below = tuple(file for file in xml if folder in file.parents)
    return [
        VocSource(
            _list_name(file),
            file,
            folder,
            below,
            image_folders(listing, folder, file.stem),
        )
        for file in chosen
    ]


def _list_name(file: Path) -> str:
    if file.stem.lower() == UNSPLIT:
        return UNSPLIT
    return exact_split(file.stem) or plain_name(file.stem)


def _set_folder(file: Path) -> Path:
    return file.parents[1 if file.parent.name.lower() == "imagesets" else 2]


def _annotation_folder(listing: Listing, folder: Path, xml: list[Path]) -> Path:
    for child in listing.children(folder):
        is_usual = child.name.lower() in ANNOTATION_FOLDERS
        if is_usual and any(child in file.parents for file in xml):
            return child
    return folder


def _by_folders(listing: Listing, xml: list[Path]) -> list[VocSource]:
    groups: dict[Path | None, list[Path]] = {}
    for file in xml:
        groups.setdefault(_split_folder(file, listing.root), []).append(file)
    return [
        _folder_source(listing, folder, files)
        for folder, files in sorted(groups.items(), key=lambda item: str(item[0]))
    ]


def _split_folder(file: Path, root: Path) -> Path | None:
    """Returns the nearest folder that is called as a split."""
    inside = file.relative_to(root).parts
    above = file.parents[: len(inside) - 1]
    return next((folder for folder in above if exact_split(folder.name)), None)


def _folder_source(
    listing: Listing, folder: Path | None, files: list[Path]
) -> VocSource:
    common = Path(os.path.commonpath([file.parent for file in files]))
    top = folder or listing.root
    usual = [
        each
        for each in (common, *common.parents)
        if top in each.parents and each.name.lower() in ANNOTATION_FOLDERS
    ]
    annotation_dir = usual[0] if usual else top
    raw = folder.name if folder else UNSPLIT
    folders = image_folders(listing, annotation_dir, raw)
    return VocSource(split_name(raw), top, annotation_dir, tuple(files), folders)
