"""`dataset.json`: what a converted folder holds.

    {"format": 1, "num_classes": 2,
     "categories": [{"id": 1, "name": "cell", "file_id": 0}],
     "splits": {"train": {"num_images": 205, "num_annotations": 2700,
       "tfrecords": "train-*.tfrecord", "num_shards": 1, "annotations": "train.json",
       "masks": false, "image_sizes": {...}, "objects_per_image": {"13": 205},
       "findings": {...}}}}

`num_classes` counts the background, so it is the highest id plus one, which is what
Model Garden's configs want. `file_id` is there where the source numbers a category
otherwise: the source of `train`, or of the split that was there first. A split whose
source has other ids than the list has them as `"file_ids": {"1": 0}`. Paths are
relative, so that a folder can be moved.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from libra_tf.data.coco import read_categories
from libra_tf.data.coco_writer import category_record
from libra_tf.data.findings import Findings
from libra_tf.data.ids import lent_categories
from libra_tf.data.records import Category, FileId
from libra_tf.errors import LONGEST_NAME, UserError, shortened
from libra_tf.files.atomic import write_text
from libra_tf.files.json_files import read_json

FILE_NAME = "dataset.json"
FORMAT = 1
# Whose source's ids the list of classes tells.
MAIN_SPLIT = "train"


@dataclass(frozen=True)
class SplitFiles:
    """One split of a converted folder; paths are absolute.

    `tfrecords` is the glob pattern that Model Garden takes as `input_path`,
    `annotation_file` the COCO file its evaluation takes, `findings` what was mended or
    looked wrong, see `findings.Findings`. `objects_per_image` counts images by their
    number of objects; None where an earlier version wrote it.
    """

    name: str
    tfrecords: str
    annotation_file: str
    num_shards: int
    num_images: int
    num_annotations: int
    masks: bool
    objects_per_image: dict[int, int] | None = None
    findings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """A converted folder. `num_classes` includes the background, id 0."""

    folder: str
    class_names: dict[int, str]
    num_classes: int
    splits: dict[str, SplitFiles]

    def split(self, name: str) -> SplitFiles:
        """Returns a split; the error for an unknown one lists those there are."""
        if name not in self.splits:
            known = ", ".join(sorted(self.splits)) or "none"
            raise UserError(
                f"{self.folder}: no split {name!r}; there are: {known}. Convert it "
                "into this folder too, or name another: --set "
                "task.validation_split=NAME (or task.train_split); --split NAME of "
                "libra eval"
            )
        return self.splits[name]


def load_manifest(folder: str | Path) -> Manifest:
    """Reads `dataset.json` and sees that every file it promises is there.

    Raises:
        UserError: not a converted folder, or an incomplete one.
    """
    folder = Path(os.path.abspath(folder))
    if not os.path.isfile(folder / FILE_NAME):  # False for a name that is too long
        raise UserError(
            f"no {FILE_NAME} in {folder}, so it is no converted data set; make one "
            "with: libra data convert DIR --out NEW_FOLDER, and give that as --data"
        )
    content = read_content(folder)
    names = {category.id: category.name for category in _categories(content, folder)}
    splits = {}
    for name, entry in content["splits"].items():
        if len(name) > LONGEST_NAME or not name.isprintable():
            raise UserError(
                f"{folder / FILE_NAME}: splits: {shortened(name, LONGEST_NAME)!r} is "
                "no name of a split; convert the data again"
            )
        try:
            splits[name] = _split_files(folder, name, entry)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{folder / FILE_NAME}: splits.{name}: broken entry ({error!r}); "
                "convert the data again"
            ) from error
    for split in splits.values():
        _check_files(split)
    return Manifest(str(folder), names, max(names) + 1, splits)


def file_ids_of(folder: str | Path, split: str = MAIN_SPLIT) -> dict[int, FileId]:
    """Returns the source's id of each category that it numbers otherwise.

    None where there is no converted folder.

    Args:
        folder: converted.
        split: whose source is meant; where the folder does not tell of it, the one that
            the list of classes is of.
    """
    content = read_content(Path(folder)) if folder else {"categories": []}
    if not content["categories"]:
        return {}
    entry = content["splits"].get(split, {})
    if isinstance(entry, dict) and "file_ids" in entry:
        try:
            return _file_ids(entry["file_ids"])
        except (AttributeError, TypeError, ValueError) as error:
            raise UserError(
                f"{Path(folder) / FILE_NAME}: splits.{split}.file_ids is no mapping "
                f"from ids to ids ({error}); convert the data again"
            ) from error
    return own_ids(_categories(content, Path(folder)))


def own_ids(categories: Iterable[Category]) -> dict[int, FileId]:
    """Returns the source's id of each category that has another."""
    return {c.id: c.file_id for c in categories if c.file_id is not None}


def _file_ids(entry: Any) -> dict[int, FileId]:
    ids = {int(key): value for key, value in entry.items()}
    if not all(isinstance(value, int | str) for value in ids.values()):
        raise TypeError(f"{entry} holds more than numbers and texts")
    return ids


def read_content(folder: Path) -> dict[str, Any]:
    """Returns the content of `dataset.json`; an empty one where there is none."""
    path = folder / FILE_NAME
    if not path.exists():
        return {"format": FORMAT, "categories": [], "num_classes": 0, "splits": {}}
    content = read_json(path)
    parts = {"categories": list, "splits": dict}
    is_ours = isinstance(content, dict) and content.get("format") == FORMAT
    if not is_ours or not all(isinstance(content.get(k), v) for k, v in parts.items()):
        raise UserError(
            f"{path}: not a description of format {FORMAT}; convert the data again "
            "into an empty folder"
        )
    return content


def categories_of_others(folder: Path, splits: Collection[str]) -> tuple[Category, ...]:
    """Returns the categories of a folder that has other splits than these."""
    content = read_content(folder)
    others = set(content["splits"]) - set(splits)
    return _categories(content, folder) if others else ()


def merged_categories(
    folder: Path, split: str, categories: tuple[Category, ...]
) -> tuple[Category, ...]:
    """Returns the classes of a split and of the other splits in the folder, by id.

    Raises:
        UserError: a name has two ids or an id two names.
    """
    content = read_content(folder)
    others = [name for name in content["splits"] if name != split]
    there = _categories(content, folder) if others else ()
    names = {category.id: category.name for category in there}
    ids = {category.name: category.id for category in there}
    for new in categories:
        if (
            names.get(new.id, new.name) != new.name
            or ids.get(new.name, new.id) != new.id
        ):
            had = ", ".join(f"{key} {name}" for key, name in names.items())
            raise UserError(
                f"{folder / FILE_NAME}: split {split} has other categories than "
                f"{', '.join(others)}: {new.id} is {new.name} here, and there are "
                f"{had}; convert all splits at once (libra data convert DIR), or give "
                "the same --classes for each, or convert into another folder"
            )
    lacks = [category for category in there if category.name not in _names(categories)]
    kept = lent_categories(lacks, categories)
    return tuple(sorted((*categories, *kept), key=lambda category: category.id))


def _names(categories: tuple[Category, ...]) -> set[str]:
    return {category.name for category in categories}


def withdraw_split(folder: Path, split: str) -> None:
    """Takes a split out of the manifest while its files are exchanged."""
    content = read_content(folder)
    if content["splits"].pop(split, None) is not None:
        _write(folder, content)


def add_split(
    folder: Path, split: str, categories: tuple[Category, ...], entry: dict[str, Any]
) -> None:
    """Writes a split into the manifest; its files must be in place.

    New classes are added to those of the other splits; see `merged_categories`.
    """
    listed = merged_categories(folder, split, categories)
    content = read_content(folder)
    if split != MAIN_SPLIT:
        there = {c.id: c for c in categories_of_others(folder, [split])}
        listed = tuple(there.get(category.id, category) for category in listed)
    content["categories"] = [category_record(c) for c in listed]
    content["num_classes"] = max(c.id for c in listed) + 1
    content["splits"][split] = entry
    content["splits"] = dict(sorted(content["splits"].items()))
    _write(folder, content)


def _write(folder: Path, content: dict[str, Any]) -> None:
    write_text(folder / FILE_NAME, [json.dumps(content, indent=1) + "\n"])


def _categories(content: dict[str, Any], folder: Path) -> tuple[Category, ...]:
    return read_categories(content, folder / FILE_NAME)


def _split_files(folder: Path, name: str, entry: dict[str, Any]) -> SplitFiles:
    findings = dict(entry.get("findings", {}))
    Findings.from_dict(findings)  # sees that it can be read
    return SplitFiles(
        name=name,
        tfrecords=str(folder / entry["tfrecords"]),
        annotation_file=str(folder / entry["annotations"]),
        num_shards=int(entry["num_shards"]),
        num_images=int(entry["num_images"]),
        num_annotations=int(entry["num_annotations"]),
        masks=bool(entry["masks"]),
        objects_per_image=_counts(entry.get("objects_per_image")),
        findings=findings,
    )


def _counts(entry: dict[str, int] | None) -> dict[int, int] | None:
    if entry is None:
        return None
    return {int(key): int(value) for key, value in entry.items()}


def _check_files(split: SplitFiles) -> None:
    pattern = Path(split.tfrecords)
    found = len(list(pattern.parent.glob(pattern.name)))
    if found != split.num_shards:
        raise UserError(
            f"{pattern}: {found} files instead of the {split.num_shards} of split "
            f"{split.name}; convert that split again"
        )
    if not Path(split.annotation_file).is_file():
        raise UserError(
            f"{split.annotation_file} is missing; convert split {split.name} again"
        )
