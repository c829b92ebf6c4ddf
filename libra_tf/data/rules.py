"""The rule book of every reader: what is mended in a data set, or looks wrong.

`scripts/rule_book.py` writes it into `docs/data.md`, with what is refused (`faults`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """What is said where something was mended or looks wrong.

    Attributes:
        input: what the files hold, for the page.
        text: what happened, after the count.
        things: what is named: "annotations", "images", "files" or "classes".
        strict: whether `--strict` refuses it.
        done: what becomes of it.
    """

    input: str
    text: str
    things: str = "annotations"
    strict: bool = True
    done: str = "mended"


RULES = {
    "clipped": Rule(
        "a box over the border of its picture",
        "boxes crossed the border and were clipped",
        done="clipped",
    ),
    "dropped": Rule(
        "a box without area inside its picture",
        "boxes had no area inside the image and were dropped",
        done="dropped",
    ),
    "box_masks": Rule(
        "masks, and an object without segmentation",
        "objects had no usable segmentation and got their box as mask",
        done="the box becomes its mask",
    ),
    # Records.
    "zero_dropped": Rule(
        "a class of id 0 that no object has",
        "classes of id 0 have no object and were dropped",
        "classes",
        strict=False,
        done="dropped",
    ),
    "zero_moved": Rule(
        "a class of id 0 that objects have",
        "classes have the id 0: every class id was raised by one; detections are "
        "written with the file's own",
        "classes",
        strict=False,
        done="every class id is raised by one, the file's own kept",
    ),
    "mapped_ids": Rule(
        "an id that is a text, negative or too large",
        "ids were replaced by numbers; detections are written with the file's own",
        "ids",
        strict=False,
        done="numbered, the file's own kept",
    ),
    "texts": Rule(
        "a number that is written as a text",
        "records have numbers written as texts, which were read as numbers",
        "records",
        strict=False,
        done="read as the number",
    ),
    "unnumbered": Rule(
        "an annotation without id",
        "annotations had no id and were numbered",
        strict=False,
        done="numbered",
    ),
    "renumbered": Rule(
        "two different annotations of one id",
        "annotations had the id of another and were numbered anew",
        done="numbered anew",
    ),
    "repeated": Rule(
        "an annotation that occurs twice",
        "annotations occurred twice and were dropped once",
        done="dropped once",
    ),
    "sizes_read": Rule(
        "a picture's width or height is missing, null, -1 or 0",
        "pictures had no size in the annotations; it was read from the file",
        "images",
        strict=False,
        done="read from the file",
    ),
    "flat_parts": Rule(
        "a polygon without area beside one with area",
        "objects had a polygon without area, which was left out",
        done="the polygon is left out",
    ),
    "areas": Rule(
        "an `area` above the box's or far below it",
        "objects had an area far from the box's or the mask's, which it became",
        done="the box's or the mask's is taken",
    ),
    "skipped": Rule(
        "a bad picture, with `--skip-bad`",
        "bad pictures were skipped; the reasons are in SPLIT.skipped.txt",
        "images",
        done="left out and listed",
    ),
    # Meaning.
    "stale_names": Rule(
        "a VOC `<filename>` that names another picture than the XML's name",
        "files name another picture; the picture of the file's own name was taken",
        "files",
        done="the picture of the XML's own name is taken",
    ),
    "one_picture": Rule(
        "two XML files or image records that reach one picture",
        "pictures are reached by more than one record",
        "images",
        done="only told",
    ),
    "equal_pictures": Rule(
        "two pictures of one split with the same content",
        "pictures have the same content as another picture of the split",
        "images",
        done="only told",
    ),
    "shared_pictures": Rule(
        "a picture that another split has too, by content",
        "pictures are in another split too",
        "images",
        done="only told",
    ),
    "equal_boxes": Rule(
        "two equal boxes of one class in one picture",
        "boxes equal another box of their class in their picture",
        done="only told",
    ),
    "normalized": Rule(
        "a picture whose boxes all lie in 0..1, in a split where others do not",
        "pictures have boxes in 0..1 only, as fractions; they should be pixels",
        "images",
        done="only told",
    ),
    "corners": Rule(
        "boxes that fit their pictures as x1, y1, x2, y2 and not as x, y, width, "
        "height",
        "boxes cross the border while all fit as corners x1, y1, x2, y2; COCO wants "
        "x, y, width, height",
        done="only told",
    ),
    "one_size": Rule(
        "boxes that are all of one size",
        "boxes are all of one size",
        done="only told",
    ),
    "whole_pictures": Rule(
        "boxes that all equal their pictures",
        "boxes all equal their pictures",
        done="only told",
    ),
    "one_corner": Rule(
        "objects that all lie in the same quarter of their pictures",
        "objects all lie in one corner of their pictures",
        done="only told",
    ),
    "one_example": Rule(
        "a class with one object",
        "classes have one object only",
        "classes",
        done="only told",
    ),
    "no_example": Rule(
        "a class without object",
        "classes have no object",
        "classes",
        strict=False,
        done="only told",
    ),
    "turned": Rule(
        "a picture that its EXIF tag turns, annotated at its upright size, or with "
        "`--exif turn`",
        "pictures were turned upright, as their EXIF tag says",
        "images",
        strict=False,
        done="turned, the boxes stay",
    ),
    "stored": Rule(
        "a picture that its EXIF tag turns, with `--exif ignore`",
        "pictures were left as they are stored, whatever their EXIF tag says",
        "images",
        strict=False,
        done="left as stored",
    ),
    "names_spelling": Rule(
        "a file name with backslashes, as URL (`%20`), with accents or with capitals "
        "otherwise than the file's",
        "file names were written otherwise than those of the files",
        "images",
        strict=False,
        done="the file is taken",
    ),
    "names_ending": Rule(
        "a file name with another ending than the only file of its name",
        "file names had another ending than the files",
        "images",
        done="the file is taken",
    ),
    "names_tail": Rule(
        "a file name with folders that are not there, of which the end fits one file "
        "only",
        "file names led elsewhere and were found by the end of their path",
        "images",
        done="the file is taken",
    ),
    "classes_by_name": Rule(
        "classes that have other ids in the splits, and the same names",
        "classes had another id than in the other splits and were matched by name",
        "classes",
        done="the ids of the first split, by name",
    ),
    "classes_added": Rule(
        "a split that lacks classes of another",
        "classes are those of other splits only and were added to the list",
        "classes",
        strict=False,
        done="added",
    ),
    "files_hidden": Rule(
        "hidden files and folders, `._*`, `.DS_Store`, `Thumbs.db`, `__MACOSX`",
        "hidden files with the ending of annotations were passed over",
        "files",
        strict=False,
        done="passed over",
    ),
    "pictures_left": Rule(
        "pictures without XML file, where no list says which are meant",
        "pictures have no XML file and were left out",
        "images",
        strict=False,
        done="left out",
    ),
    "lists_left": Rule(
        "`trainval` beside `train` or `val`",
        "lists repeat other splits and were left out",
        "files",
        strict=False,
        done="left out",
    ),
}
