"""Reads and checks a Pascal VOC folder.

    DIR/JPEGImages/NAME.jpg
    DIR/Annotations/NAME.xml
    DIR/ImageSets/Main/SPLIT.txt     names, one a line; without it: every annotation

VOC counts pixels from 1 and its `xmax` is inside the box, so the box becomes
`(xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1)`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

from libra_tf.data.faults import Fault, refuse_faults
from libra_tf.data.findings import Findings
from libra_tf.data.records import Annotation, Category, Dataset, ImageRecord
from libra_tf.data.values import as_number, as_truth
from libra_tf.errors import UserError

# What becomes of objects marked difficult. VOC's protocol neither rewards nor
# punishes their detection, which in COCO's terms is a crowd.
DIFFICULT = ("crowd", "keep", "drop")
IMAGE_FOLDER = "JPEGImages"
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")
MAX_XML_BYTES = 16 << 20


@dataclass(frozen=True)
class _Object:
    """One `<object>`, the `number`th; `box` is x, y, width, height from 0."""

    number: int
    name: str
    box: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True)
class _Picture:
    """One XML file; width and height are 0 where it does not tell."""

    file: Path
    name: str
    width: int
    height: int
    objects: tuple[_Object, ...]

    def without_difficult(self) -> _Picture:
        kept = tuple(found for found in self.objects if not found.difficult)
        return replace(self, objects=kept)


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

    Returns:
        The data set; XML files that cannot be used are `faults`, see `read_coco`. A
        size that is not told is 0.

    Raises:
        UserError: not such a folder or split, or no classes.
    """
    folder = Path(folder)
    if difficult not in DIFFICULT:
        raise UserError(f"difficult must be one of {', '.join(DIFFICULT)}")
    findings, faults = Findings(), []
    pictures: dict[int, _Picture] = {}
    for key, name in enumerate(_names(folder, split), start=1):
        file = folder / "Annotations" / f"{name}.xml"
        try:
            pictures[key] = _picture(file, folder / IMAGE_FOLDER, findings)
        except UserError as error:
            faults.append(Fault(str(error), key))
    if difficult == "drop":
        pictures = {key: p.without_difficult() for key, p in pictures.items()}
    if faults and not (classes or any(p.objects for p in pictures.values())):
        refuse_faults(faults)  # Without them there are no classes either.
    ids = _class_ids(pictures.values(), folder, classes)
    images, next_id = [], 1
    for key, picture in pictures.items():
        unknown = [o.name for o in picture.objects if o.name not in ids]
        if unknown:
            faults.append(Fault(_unknown(picture.file, unknown[0]), key))
            continue
        annotations = tuple(
            _annotation(found, next_id + offset, ids, difficult, picture.file)
            for offset, found in enumerate(picture.objects)
        )
        next_id += len(annotations)
        images.append(
            ImageRecord(key, picture.name, picture.width, picture.height, annotations)
        )
    categories = tuple(Category(key, name) for name, key in ids.items())
    return Dataset(str(folder), categories, tuple(images), findings, tuple(faults))


def _annotation(
    found: _Object, key: int, ids: Mapping[str, int], difficult: str, file: Path
) -> Annotation:
    area = max(found.box[2], 0.0) * max(found.box[3], 0.0)
    crowd = found.difficult and difficult == "crowd"
    label = f"{file.name} object {found.number}"
    return Annotation(key, ids[found.name], found.box, area, crowd, label=label)


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
        found.append(_Object(number, name, box, _difficult(node, where)))
    return found


def _difficult(node: ElementTree.Element, where: str) -> bool:
    text = node.findtext("difficult", "0")
    truth = as_truth(text)
    if truth is None:
        raise UserError(f"{where}: difficult {text!r} must be 0 or 1; mend it")
    return truth


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
    pictures: Iterable[_Picture], folder: Path, classes: Sequence[str] | None
) -> dict[str, int]:
    """Returns name -> id, from 1."""
    if classes is None:
        classes = sorted({found.name for p in pictures for found in p.objects})
    ids = {name: key for key, name in enumerate(classes, start=1)}
    if not ids or len(ids) < len(classes):
        raise UserError(
            f"{folder / 'Annotations'}: "
            f"{'a class is given twice' if ids else 'no objects'}; give the class "
            "names with --classes"
        )
    return ids


def _unknown(file: Path, name: str) -> str:
    return f"{file}: class {name!r} is not among the given classes; add it to --classes"


def _picture(file: Path, image_dir: Path, findings: Findings) -> _Picture:
    tree = _parse(file)
    objects = tuple(_objects(tree, file))
    sides = (tree.findtext(f"size/{side}", "") for side in ("width", "height"))
    size = [as_number(side) or 0.0 for side in sides]
    width, height = map(int, size) if min(size) >= 1 else (0, 0)
    name = _image_name(tree, file, image_dir, findings)
    return _Picture(file, name, width, height, objects)


def _image_name(
    tree: ElementTree.Element, file: Path, image_dir: Path, findings: Findings
) -> str:
    """Returns the picture of the XML's own name, else the one that it names."""
    told = (tree.findtext("filename") or "").strip()
    own = [file.stem + suffix for suffix in (*SUFFIXES, *map(str.upper, SUFFIXES))]
    exists = bool(told) and (image_dir / told).is_file()
    if exists and Path(told).stem == file.stem:
        return told
    name = next((name for name in own if (image_dir / name).is_file()), None)
    if name and exists:
        findings.add("stale_names", file.name)
    if name or exists:
        return name or told
    raise UserError(f"{file}: its image {told or own[0]} is not in {image_dir}")
