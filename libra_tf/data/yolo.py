"""Reads the label files of YOLO: one text file for each picture.

Each line is one object, in fractions of the upright picture's width and height:

    CLASS X Y WIDTH HEIGHT          the centre of a box
    CLASS X1 Y1 X2 Y2 X3 Y3 ...     the corners of an outline, at least three

CLASS counts from 0 in the list of names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from libra_tf.data.faults import Fault
from libra_tf.data.findings import Findings
from libra_tf.data.images import read_size
from libra_tf.data.masks import check_segmentation, polygon_area
from libra_tf.data.records import Annotation, Bbox, Category, Dataset, ImageRecord
from libra_tf.errors import UserError

BOX_NUMBERS, LEAST_OUTLINE = 5, 7
# A fraction above it is no box over the border, but a box in pixels.
LARGEST_FRACTION = 2.0


@dataclass(frozen=True)
class LabelFormat:
    """What the description of a set says of its label files.

    Attributes:
        names: of the classes, from 0.
        names_file: the file that has them.
        keypoints: whether points follow each box.
    """

    names: tuple[str, ...]
    names_file: Path
    keypoints: bool = False


@dataclass(frozen=True)
class _Object:
    """One line of a label file, in fractions; `outline` is x1, y1, x2, y2, ..."""

    where: str
    category: int
    bbox: Bbox
    outline: list[float]


def read_labels(
    pictures: Sequence[tuple[Path, Path | None]],
    image_dir: Path,
    source: str,
    labels: LabelFormat,
) -> Dataset:
    """Reads the label files of a split.

    Args:
        pictures: each with its label file; None: it has none, so no object.
        image_dir: the folder above all pictures.
        source: what the data set is called in messages.
        labels: what the numbers mean.

    Returns:
        The data set. Class ids are those of the files plus one, which are kept; label
        files that cannot be used are `faults`.
    """
    findings, faults, images = Findings(), [], []
    next_id = 1
    for key, (picture, file) in enumerate(pictures, start=1):
        name = picture.relative_to(image_dir).as_posix()
        if file is None:
            findings.add("unlabelled", name)
        try:
            width, height = read_size(image_dir, name, "turn")
            objects = [] if file is None else _read_file(file, labels, findings)
        except UserError as error:
            faults.append(Fault(str(error), key, name))
            continue
        annotations = tuple(
            _annotation(found, next_id + place, (width, height), findings)
            for place, found in enumerate(objects)
        )
        next_id += len(annotations)
        images.append(ImageRecord(key, name, width, height, annotations))
    categories = tuple(
        Category(place + 1, name, place) for place, name in enumerate(labels.names)
    )
    return Dataset(source, categories, tuple(images), findings, tuple(faults))


def read_lines(file: Path) -> list[str]:
    """Returns the lines of a text file, without blanks around them.

    Raises:
        UserError: it cannot be read, or is no text.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UserError(f"{file}: cannot be read: {why}") from error
    return [line.strip() for line in lines]


def _read_file(file: Path, labels: LabelFormat, findings: Findings) -> list[_Object]:
    return [
        _read_line(line, f"{file}: line {number}", labels, findings)
        for number, line in enumerate(read_lines(file), start=1)
        if line
    ]


def _read_line(
    line: str, where: str, labels: LabelFormat, findings: Findings
) -> _Object:
    numbers = [_number(word, where) for word in line.split()]
    category = _category(numbers[0], where, labels)
    if labels.keypoints and len(numbers) > BOX_NUMBERS:
        findings.add("keypoints_left", where)
        numbers = numbers[:BOX_NUMBERS]
    largest = max(map(abs, numbers[1:]), default=0.0)
    if largest > LARGEST_FRACTION:
        raise UserError(
            f"{where}: {largest:g} is no fraction of the picture; divide pixels by its "
            "width and height"
        )
    if len(numbers) == BOX_NUMBERS:
        x, y, width, height = numbers[1:]
        if min(width, height) < 0:
            raise UserError(f"{where}: width and height must be at least 0; mend it")
        box = (x - width / 2, y - height / 2, width, height)
        return _Object(where, category, box, [])
    if len(numbers) >= LEAST_OUTLINE and len(numbers) % 2:
        xs, ys = numbers[1::2], numbers[2::2]
        box = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
        return _Object(where, category, box, numbers[1:])
    hint = "; is the last one a score?" if len(numbers) == BOX_NUMBERS + 1 else ""
    raise UserError(
        f"{where}: has {len(numbers)} numbers; a box has 5 (class, centre x, y, width, "
        f"height), an outline an odd number from 7{hint}"
    )


def _number(word: str, where: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{where}: {word[:40]!r} is no finite number; mend it")
    return value


def _category(value: float, where: str, labels: LabelFormat) -> int:
    count = len(labels.names)
    if value != int(value) or not 0 <= value < count:
        raise UserError(
            f"{where}: class {value:g} is none of 0 to {count - 1}, of which "
            f"{labels.names_file} has the names; add the name there, or mend the line"
        )
    return int(value)


def _annotation(
    found: _Object, key: int, size: tuple[int, int], findings: Findings
) -> Annotation:
    """Scales an object to the pixels of its picture."""
    width, height = size
    x, y, w, h = found.bbox
    bbox = (x * width, y * height, w * width, h * height)
    area, label = bbox[2] * bbox[3], Path(found.where).name
    outline = [value * size[place % 2] for place, value in enumerate(found.outline)]
    segmentation = check_segmentation(
        [outline] if outline else None, width, height, found.where, findings, label
    )
    if segmentation:
        area = polygon_area(outline)
    return Annotation(
        key, found.category + 1, bbox, area, segmentation=segmentation, label=label
    )
