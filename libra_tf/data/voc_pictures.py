"""One XML file of Pascal VOC: its objects, and the picture that it means."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

from libra_tf.data.findings import Findings
from libra_tf.data.image_names import SUFFIXES, Match, match_at_place, match_name
from libra_tf.data.values import as_number, as_truth
from libra_tf.data.voc_xml import parse_xml
from libra_tf.errors import UserError


@dataclass(frozen=True)
class VocObject:
    """One `<object>`, the `number`th; `box` is x, y, width, height from 0."""

    number: int
    name: str
    box: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True)
class VocPicture:
    """One XML file; width and height are 0 where it does not tell."""

    file: Path
    name: str
    width: int
    height: int
    objects: tuple[VocObject, ...]

    @property
    def difficult(self) -> tuple[VocObject, ...]:
        """The objects marked difficult."""
        return tuple(found for found in self.objects if found.difficult)

    def without_difficult(self) -> VocPicture:
        """Returns the picture without the objects marked difficult."""
        kept = tuple(found for found in self.objects if not found.difficult)
        return replace(self, objects=kept)


def read_picture(
    file: Path, annotation_dir: Path, image_dir: Path, findings: Findings
) -> VocPicture:
    """Reads an XML file and finds its picture.

    Args:
        file: below `annotation_dir`.
        annotation_dir: the path from here is the picture's from `image_dir`.
        image_dir: the folder of the pictures.
        findings: to be added to.

    Raises:
        UserError: names the file and the field.
    """
    tree = parse_xml(file)
    objects = tuple(_objects(tree, file, findings))
    sides = (tree.findtext(f"size/{side}", "") for side in ("width", "height"))
    size = [as_number(side) or 0.0 for side in sides]
    width, height = map(int, size) if min(size) >= 1 else (0, 0)
    own = file.relative_to(annotation_dir).with_suffix("").as_posix()
    told = (tree.findtext("filename") or "").strip()
    match = _match(told, own, file, image_dir, findings)
    if match is None:
        raise UserError(
            f"{file}: its image {told or own + SUFFIXES[0]} is not in {image_dir}"
        )
    if match.rule:
        findings.add(match.rule, told)
    return VocPicture(file, match.name, width, height, objects)


def _objects(
    tree: ElementTree.Element, file: Path, findings: Findings
) -> list[VocObject]:
    found = []
    for number, node in enumerate(tree.findall("object"), start=1):
        where = f"{file}: object {number}"
        written = node.findtext("name") or ""
        name = written.strip()
        if not name:
            raise UserError(f"{where}: name is missing; add it")
        if name != written:
            findings.add("class_blanks", f"{name} of {file.name} object {number}")
        if len(node.findall("bndbox")) > 1:
            findings.add("second_box", f"{file.name} object {number}")
        xmin, ymin, xmax, ymax = (
            _number(node, f"bndbox/{side}", where)
            for side in ("xmin", "ymin", "xmax", "ymax")
        )
        box = (xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1)
        found.append(VocObject(number, name, box, _difficult(node, where)))
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


def _match(
    told: str, own: str, file: Path, image_dir: Path, findings: Findings
) -> Match | None:
    """Returns the picture of the file's own name, else the one that it names.

    Args:
        told: the name that the file holds.
        own: the picture's path without ending if it is called as the file.
        file: the XML file.
        image_dir: the folder of the pictures.
        findings: to be added to.
    """
    own_name = own + SUFFIXES[0]
    try:
        exists = bool(told) and (image_dir / told).is_file()
        if exists and Path(told).stem == Path(own).name:
            return Match(told)
        match = match_at_place(image_dir, own_name)
        if match and exists:
            findings.add("stale_names", file.name)
        if match or told:
            return Match(match.name) if match else match_name(image_dir, told)
        match = match_name(image_dir, own_name)
        return Match(match.name) if match else None
    except (UserError, ValueError, OSError) as error:
        raise UserError(f"{file}: {error}") from error
