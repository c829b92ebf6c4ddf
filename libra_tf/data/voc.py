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

from libra_tf.data.images import read_size
from libra_tf.data.records import Annotation, Category, Dataset, ImageRecord
from libra_tf.errors import UserError

# What becomes of objects marked difficult. VOC's protocol neither rewards nor
# punishes their detection, which in COCO's terms is a crowd.
DIFFICULT = ("crowd", "keep", "drop")
IMAGE_FOLDER = "JPEGImages"
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")
MAX_XML_BYTES = 16 << 20


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
    if difficult not in DIFFICULT:
        raise UserError(f"difficult must be one of {', '.join(DIFFICULT)}")
    files = [folder / "Annotations" / f"{name}.xml" for name in _names(folder, split)]
    trees = [(file, _parse(file)) for file in files]
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
        name, width, height = _image(tree, file, folder / IMAGE_FOLDER)
        images.append(ImageRecord(index + 1, name, width, height, annotations))
    categories = tuple(Category(key, name) for name, key in ids.items())
    return Dataset(str(folder), categories, tuple(images))


def _names(folder: Path, split: str) -> list[str]:
    if not (folder / "Annotations").is_dir() or not (folder / IMAGE_FOLDER).is_dir():
        raise UserError(
            f"{folder}: not a Pascal VOC folder: it needs Annotations and JPEGImages"
        )
    sets = folder / "ImageSets" / "Main"
    if not sets.is_dir():
        names = sorted(path.stem for path in (folder / "Annotations").glob("*.xml"))
    else:
        file = sets / f"{split}.txt"
        if not file.is_file():
            known = ", ".join(sorted(path.stem for path in sets.glob("*.txt")))
            raise UserError(f"{file}: no such split; there are: {known or 'none'}")
        lines = file.read_text(encoding="utf-8").splitlines()
        names = [line.split()[0] for line in lines if line.strip()]
    for name in names:
        if Path(name).name != name:
            raise UserError(f"{sets / split}.txt: {name!r} is a path; write a name")
    if not names or len(set(names)) < len(names):
        fault = "names an image twice" if names else "has no images"
        raise UserError(f"{folder}: split {split} {fault}; mend its list")
    return names


def _parse(file: Path) -> ElementTree.Element:
    try:
        with open(file, "rb") as stream:
            content = stream.read(MAX_XML_BYTES + 1)
        if len(content) > MAX_XML_BYTES:
            raise UserError(f"{file}: larger than {MAX_XML_BYTES} bytes; mend it")
        # Entities can be made to expand without end. A zero byte is UTF-16 or -32,
        # where the words would not be found.
        if b"\0" in content or b"<!doctype" in content.lower():
            raise UserError(
                f"{file}: is not UTF-8 or declares a DOCTYPE; remove the declaration"
            )
        return ElementTree.fromstring(content)
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{file}: not valid XML: {error}") from error


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
    objects: list[list[_Object]], files: list[Path], classes: Sequence[str] | None
) -> dict[str, int]:
    """Returns name -> id, from 1."""
    if classes is None:
        classes = sorted({found.name for group in objects for found in group})
    ids = {name: key for key, name in enumerate(classes, start=1)}
    if not ids or len(ids) < len(classes):
        raise UserError(
            f"{files[0].parent}: {'a class is given twice' if ids else 'no objects'}; "
            "give the class names with --classes"
        )
    for file, group in zip(files, objects, strict=True):
        for found in group:
            if found.name not in ids:
                raise UserError(
                    f"{file}: class {found.name!r} is not among the given classes; "
                    "add it to --classes"
                )
    return ids


def _image(
    tree: ElementTree.Element, file: Path, image_dir: Path
) -> tuple[str, int, int]:
    """Returns file name, width and height; the header's size where none is told."""
    names = [(tree.findtext("filename") or "").strip()]
    names += [file.stem + suffix for suffix in (*SUFFIXES, *map(str.upper, SUFFIXES))]
    name = next((n for n in names if n and (image_dir / n).is_file()), None)
    if name is None:
        raise UserError(
            f"{file}: its image {names[0] or names[1]} is not in {image_dir}"
        )
    size = [tree.findtext(f"size/{side}", "").strip() for side in ("width", "height")]
    if all(side.isdecimal() and int(side) > 0 for side in size):
        return name, int(size[0]), int(size[1])
    return name, *read_size(image_dir, name)
