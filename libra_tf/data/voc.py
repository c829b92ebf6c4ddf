"""Reads and checks a Pascal VOC folder.

    DIR/JPEGImages/NAME.jpg
    DIR/Annotations/NAME.xml
    DIR/ImageSets/Main/SPLIT.txt     names, one a line; without it: every annotation

VOC counts pixels from 1 and its `xmax` is inside the box, so the box becomes
`(xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from libra_tf.data.findings import Findings
from libra_tf.data.folder_listing import list_folder
from libra_tf.data.image_names import SUFFIXES, Match, match_at_place, match_name
from libra_tf.data.images import read_size
from libra_tf.data.records import Annotation, Category, Dataset, ImageRecord
from libra_tf.data.voc_lists import listed_files
from libra_tf.data.voc_xml import parse_xml
from libra_tf.errors import UserError

# What becomes of objects marked difficult. VOC's protocol neither rewards nor
# punishes their detection, which in COCO's terms is a crowd.
DIFFICULT = ("crowd", "keep", "drop")
IMAGE_FOLDER = "JPEGImages"


@dataclass(frozen=True)
class _Object:
    """One `<object>`; `box` is x, y, width, height from 0."""

    name: str
    box: tuple[float, float, float, float]
    difficult: bool


def read_voc(
    folder: str | Path,
    split: str,
    classes: Sequence[str] | None = None,
    difficult: str = "crowd",
) -> Dataset:
    """Reads one split; image and annotation ids count from 1 in the split's order.

    Args:
        folder: the folder with `JPEGImages` and `Annotations`.
        split: a file of `ImageSets/Main`, or any name where there is no such folder.
        classes: the class names in order of their ids, from 1; default all names that
            occur, sorted. Give them where a split lacks a class of another split.
        difficult: "crowd" (ignored in evaluation, as in VOC's protocol; skipped in
            training by Model Garden's default), "keep" or "drop".

    Raises:
        UserError: names the XML file and the field.
    """
    folder = Path(folder)
    annotation_dir, image_dir = folder / "Annotations", folder / IMAGE_FOLDER
    if not annotation_dir.is_dir() or not image_dir.is_dir():
        raise UserError(
            f"{folder}: not a Pascal VOC folder: it needs Annotations and JPEGImages"
        )
    files = _files(folder, split, annotation_dir)
    dataset = read_files(
        files, annotation_dir, image_dir, str(folder), difficult, classes
    )
    if not dataset.categories:
        raise UserError(
            f"{annotation_dir}: no objects; give the class names with --classes"
        )
    return dataset


def read_files(
    files: Sequence[Path],
    annotation_dir: Path,
    image_dir: Path,
    source: str,
    difficult: str = "crowd",
    classes: Sequence[str] | None = None,
) -> Dataset:
    """Reads XML files in their order; without any object there are no categories.

    Args:
        files: below `annotation_dir`.
        annotation_dir: the path from here is the picture's from `image_dir`.
        image_dir: the folder of the pictures.
        source: what the data set is called in messages.
        difficult: see `read_voc`.
        classes: see `read_voc`.
    """
    if difficult not in DIFFICULT:
        raise UserError(f"difficult must be one of {', '.join(DIFFICULT)}")
    findings = Findings()
    trees = [(file, parse_xml(file)) for file in files]
    objects = [
        [o for o in _objects(tree, file) if not (o.difficult and difficult == "drop")]
        for file, tree in trees
    ]
    ids = _class_ids(objects, files, classes)
    images, next_id = [], 1
    for index, (file, tree) in enumerate(trees):
        annotations = tuple(
            Annotation(
                next_id + offset,
                ids[found.name],
                found.box,
                max(found.box[2], 0.0) * max(found.box[3], 0.0),
                found.difficult and difficult == "crowd",
            )
            for offset, found in enumerate(objects[index])
        )
        next_id += len(annotations)
        own = file.relative_to(annotation_dir).with_suffix("").as_posix()
        name, width, height = _image(tree, file, own, image_dir, findings)
        images.append(ImageRecord(index + 1, name, width, height, annotations))
    categories = tuple(Category(key, name) for name, key in ids.items())
    return Dataset(source, categories, tuple(images), findings)


def _files(folder: Path, split: str, annotation_dir: Path) -> list[Path]:
    listed = list_folder(annotation_dir).with_suffix(".xml")
    sets = folder / "ImageSets" / "Main"
    if not sets.is_dir():
        if not listed:
            raise UserError(f"{folder}: split {split} has no images; mend its list")
        return listed
    file = sets / f"{split}.txt"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in sets.glob("*.txt")))
        raise UserError(f"{file}: no such split; there are: {known or 'none'}")
    return listed_files(file, annotation_dir, listed)


def _objects(tree: ElementTree.Element, file: Path) -> list[_Object]:
    found = []
    for number, node in enumerate(tree.findall("object"), start=1):
        where = f"{file}: object {number}"
        name = (node.findtext("name") or "").strip()
        if not name:
            raise UserError(f"{where}: name is missing; add it")
        xmin, ymin, xmax, ymax = (
            _number(node, f"bndbox/{side}", where)
            for side in ("xmin", "ymin", "xmax", "ymax")
        )
        box = (xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1)
        found.append(_Object(name, box, node.findtext("difficult", "0").strip() == "1"))
    return found


def _number(node: ElementTree.Element, path: str, where: str) -> float:
    text = node.findtext(path)
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{where}: {path} {text!r} must be a finite number; mend it")
    return value


def _class_ids(
    objects: list[list[_Object]], files: Sequence[Path], classes: Sequence[str] | None
) -> dict[str, int]:
    """Returns name -> id, from 1."""
    if classes is None:
        classes = sorted({found.name for group in objects for found in group})
    ids = {name: key for key, name in enumerate(classes, start=1)}
    if len(ids) < len(classes):
        raise UserError("a class is given twice; mend --classes")
    for file, group in zip(files, objects, strict=True):
        for found in group:
            if found.name not in ids:
                raise UserError(
                    f"{file}: class {found.name!r} is not among the given classes; "
                    "add it to --classes"
                )
    return ids


def _image(
    tree: ElementTree.Element, file: Path, own: str, image_dir: Path, findings: Findings
) -> tuple[str, int, int]:
    """Returns file name, width and height; the header's size where none is told.

    Args:
        tree: the annotation.
        file: its file.
        own: the picture's path without ending if it is called as the file.
        image_dir: the folder of the pictures.
        findings: to be added to.
    """
    name = (tree.findtext("filename") or "").strip()
    match = _match(name, own, file, image_dir)
    if match is None:
        raise UserError(
            f"{file}: its image {name or own + SUFFIXES[0]} is not in {image_dir}"
        )
    if match.rule:
        findings.add(match.rule, name)
    size = [tree.findtext(f"size/{side}", "").strip() for side in ("width", "height")]
    if all(side.isdecimal() and int(side) > 0 for side in size):
        return match.name, int(size[0]), int(size[1])
    return match.name, *read_size(image_dir, match.name)


def _match(name: str, own: str, file: Path, image_dir: Path) -> Match | None:
    """Returns the picture: of the name as it stands, of the file's own, of another."""
    own_name = own + SUFFIXES[0]
    try:
        if name and (image_dir / name).is_file():
            return Match(name)
        match = match_at_place(image_dir, own_name)
        if match or name:
            return Match(match.name) if match else match_name(image_dir, name)
        match = match_name(image_dir, own_name)
        return Match(match.name) if match else None
    except (UserError, ValueError, OSError) as error:
        raise UserError(f"{file}: {error}") from error
