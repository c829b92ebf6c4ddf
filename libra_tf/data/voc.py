"""Reads and checks a Pascal VOC folder.

    DIR/JPEGImages/NAME.jpg
    DIR/Annotations/NAME.xml
    DIR/ImageSets/Main/SPLIT.txt     names, one a line; without it: every annotation

VOC counts pixels from 1 and its `xmax` is inside the box, so the box becomes
`(xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from libra_tf.data.faults import Fault, refuse_faults
from libra_tf.data.findings import Findings
from libra_tf.data.folder_listing import list_folder
from libra_tf.data.records import Annotation, Category, Dataset, ImageRecord
from libra_tf.data.voc_lists import listed_files
from libra_tf.data.voc_pictures import VocObject, VocPicture, read_picture
from libra_tf.errors import UserError

# What becomes of objects marked difficult. VOC's protocol neither rewards nor
# punishes their detection, which in COCO's terms is a crowd.
DIFFICULT = ("crowd", "keep", "drop")
IMAGE_FOLDER = "JPEGImages"


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
        refuse_faults(dataset.faults)  # Without them there are no classes either.
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
    findings, faults = Findings(), []
    pictures: dict[int, VocPicture] = {}
    for key, file in enumerate(files, start=1):
        try:
            pictures[key] = read_picture(file, annotation_dir, image_dir, findings)
        except UserError as error:
            faults.append(Fault(str(error), key, file.name))
    if difficult == "drop":
        for picture in pictures.values():
            for found in picture.difficult:
                name = f"{picture.file.name} object {found.number}"
                findings.add("difficult_dropped", name)
        pictures = {key: p.without_difficult() for key, p in pictures.items()}
    ids = _class_ids(pictures.values(), classes)
    images, next_id = [], 1
    for key, picture in pictures.items():
        unknown = [o.name for o in picture.objects if o.name not in ids]
        if unknown:
            faults.append(
                Fault(_unknown(picture.file, unknown[0]), key, picture.file.name)
            )
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
    return Dataset(source, categories, tuple(images), findings, tuple(faults))


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


def _annotation(
    found: VocObject, key: int, ids: Mapping[str, int], difficult: str, file: Path
) -> Annotation:
    area = max(found.box[2], 0.0) * max(found.box[3], 0.0)
    crowd = found.difficult and difficult == "crowd"
    label = f"{file.name} object {found.number}"
    return Annotation(key, ids[found.name], found.box, area, crowd, label=label)


def _class_ids(
    pictures: Iterable[VocPicture], classes: Sequence[str] | None
) -> dict[str, int]:
    """Returns name -> id, from 1."""
    if classes is None:
        classes = sorted({found.name for p in pictures for found in p.objects})
    ids = {name: key for key, name in enumerate(classes, start=1)}
    if len(ids) < len(classes):
        raise UserError("a class is given twice; mend --classes")
    return ids


def _unknown(file: Path, name: str) -> str:
    return (
        f"{file}: class {name!r} is not among the given classes; add it to --classes, "
        "which are names as a,b,c"
    )
