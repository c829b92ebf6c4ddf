"""The rule book of every reader: what is mended in a data set, or looks wrong.

`scripts/rule_book.py` writes it into `docs/data.md`, with what is refused (`faults`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORMS = re.compile(r"\[(.*?)\|(.*?)\]")


@dataclass(frozen=True)
class Rule:
    """What is said where something was mended or looks wrong.

    Attributes:
        input: what the files hold, for the page.
        text: what happened, after the count, as [of one|of many].
        things: what is named: "annotations", "images", "files" or "classes".
        strict: whether `--strict` refuses it.
        done: what becomes of it.
    """

    input: str
    text: str
    things: str = "annotations"
    strict: bool = True
    done: str = "mended"

    def said(self, count: int) -> str:
        """Returns the text in the form for a number of things."""
        return _FORMS.sub(r"\1" if count == 1 else r"\2", self.text)


RULES = {
    "clipped": Rule(
        "a box over the border of its picture",
        "[box|boxes] crossed the border and [was|were] clipped",
        done="clipped",
    ),
    "dropped": Rule(
        "a box without area inside its picture",
        "[box|boxes] had no area inside the image and [was|were] dropped",
        done="dropped",
    ),
    "box_masks": Rule(
        "masks, and an object without segmentation",
        "[object|objects] had no usable segmentation and got [its|their] box as mask",
        done="the box becomes its mask",
    ),
    # Records.
    "zero_dropped": Rule(
        "a class of id 0 that no object has",
        "[class|classes] of id 0 [has|have] no object and [was|were] dropped",
        "classes",
        strict=False,
        done="dropped",
    ),
    "zero_moved": Rule(
        "a class of id 0 that objects have",
        "[class has|classes have] the id 0: every class id was raised by one; "
        "detections are written with the file's own",
        "classes",
        strict=False,
        done="every class id is raised by one, the file's own kept",
    ),
    "mapped_ids": Rule(
        "an id that is a text, negative or too large",
        "[id was|ids were] replaced by [a number|numbers]; detections are written "
        "with the file's own",
        "ids",
        strict=False,
        done="numbered, the file's own kept",
    ),
    "texts": Rule(
        "a number that is written as a text",
        "[record has|records have] numbers written as texts, which were read as "
        "numbers",
        "records",
        strict=False,
        done="read as the number",
    ),
    "unnumbered": Rule(
        "an annotation without id",
        "[annotation|annotations] had no id and [was|were] numbered",
        strict=False,
        done="numbered",
    ),
    "renumbered": Rule(
        "two different annotations of one id",
        "[annotation|annotations] had the id of another and [was|were] numbered anew",
        done="numbered anew",
    ),
    "repeated": Rule(
        "an annotation that occurs twice",
        "[annotation|annotations] occurred twice and [was|were] dropped once",
        done="dropped once",
    ),
    "sizes_read": Rule(
        "a picture's width or height is missing, null, -1 or 0",
        "[picture|pictures] had no size in the annotations; it was read from the file",
        "images",
        strict=False,
        done="read from the file",
    ),
    "flat_parts": Rule(
        "a polygon without area beside one with area",
        "[object|objects] had a polygon without area, which was left out",
        done="the polygon is left out",
    ),
    "areas": Rule(
        "an `area` above the box's or far below it",
        "[object|objects] had an area far from the box's or the mask's, which it "
        "became",
        done="the box's or the mask's is taken",
    ),
    "skipped": Rule(
        "a bad picture, with `--skip-bad`",
        "bad [picture was|pictures were] skipped; the split's .skipped.txt has the "
        "reasons",
        "images",
        done="left out and listed",
    ),
    "orphans": Rule(
        "an object of no known image, with `--skip-bad`",
        "[annotation was|annotations were] of no known image and [was|were] left out",
        done="left out and listed",
    ),
    "class_blanks": Rule(
        "a name of a class with blanks around it",
        "[name of a class had|names of classes had] blanks around [it|them], which "
        "were cut",
        "names",
        done="cut",
    ),
    "difficult_dropped": Rule(
        "an object marked difficult, with `--difficult drop`",
        "[object was|objects were] marked difficult and [was|were] dropped",
        "objects",
        strict=False,
        done="dropped",
    ),
    "second_box": Rule(
        "a VOC object with a second `<bndbox>`",
        "[object has|objects have] more than one <bndbox>, of which the first was "
        "taken",
        "objects",
        done="the first is taken",
    ),
    "unlabelled": Rule(
        "a picture without label file, of a YOLO split that has some",
        "[picture has|pictures have] no label file and [was|were] taken as without "
        "objects",
        "images",
        strict=False,
        done="a picture without objects",
    ),
    "keypoints_left": Rule(
        "keypoints behind a YOLO box (`kpt_shape`)",
        "[object has|objects have] keypoints, which were left out",
        "objects",
        strict=False,
        done="the box is taken",
    ),
    # Meaning.
    "stale_names": Rule(
        "a VOC `<filename>` that names another picture than the XML's name",
        "[file names|files name] another picture; the picture of the file's own name "
        "was taken",
        "files",
        done="the picture of the XML's own name is taken",
    ),
    "one_picture": Rule(
        "two XML files or image records that reach one picture",
        "[picture is|pictures are] reached by more than one record",
        "images",
        done="only told",
    ),
    "equal_pictures": Rule(
        "two pictures of one split with the same content",
        "[picture has|pictures have] the same content as another picture of the split",
        "images",
        done="only told",
    ),
    "shared_pictures": Rule(
        "a picture that another split has too, by content",
        "[picture is|pictures are] in another split too",
        "images",
        done="only told",
    ),
    "equal_boxes": Rule(
        "two equal boxes of one class in one picture",
        "[box equals|boxes equal] another box of [its|their] class in [its|their] "
        "picture",
        done="only told",
    ),
    "normalized": Rule(
        "a picture whose boxes all lie in 0..1, in a split where others do not",
        "[picture has|pictures have] boxes in 0..1 only, as fractions; they should "
        "be pixels",
        "images",
        done="only told",
    ),
    "corners": Rule(
        "boxes that fit their pictures as x1, y1, x2, y2 and not as x, y, width, "
        "height",
        "[box crosses|boxes cross] the border while all fit as corners x1, y1, x2, "
        "y2; COCO wants x, y, width, height",
        done="only told",
    ),
    "one_size": Rule(
        "boxes that are all of one size",
        "[box is|boxes are] all of one size",
        done="only told",
    ),
    "whole_pictures": Rule(
        "boxes that all equal their pictures",
        "[box equals its picture|boxes all equal their pictures]",
        done="only told",
    ),
    "one_corner": Rule(
        "objects that all lie in the same quarter of their pictures",
        "[object lies|objects all lie] in one corner of their pictures",
        done="only told",
    ),
    "one_example": Rule(
        "a class with one object",
        "[class has|classes have] one object only",
        "classes",
        done="only told",
    ),
    "alike_classes": Rule(
        "classes whose names differ in capitals or blanks only",
        "[class is called|classes are called] as another but for capitals or blanks",
        "classes",
        done="only told",
    ),
    "no_objects": Rule(
        "a split in which no picture has an object",
        "[picture is the whole split and has no|pictures are the whole split and "
        "none has an] object",
        "images",
        strict=False,
        done="only told",
    ),
    "no_example": Rule(
        "a class without object",
        "[class has|classes have] no object",
        "classes",
        strict=False,
        done="only told",
    ),
    "turned": Rule(
        "a picture that its EXIF tag turns, annotated at its upright size, or with "
        "`--exif turn`",
        "[picture was|pictures were] turned upright, as [its|their] EXIF tag says",
        "images",
        strict=False,
        done="turned, the boxes stay",
    ),
    "stored": Rule(
        "a picture that its EXIF tag turns, with `--exif ignore`",
        "[picture was|pictures were] left as stored, whatever [its|their] EXIF tag "
        "says",
        "images",
        strict=False,
        done="left as stored",
    ),
    "depths": Rule(
        "a picture of 16 bits that needs only 8, 10, 12 or 14 of them and does not "
        "declare its depth (sBIT of PNG, MaxSampleValue of TIFF)",
        "[picture of 16 bits uses|pictures of 16 bits use] 8, 10, 12 or 14 of them "
        "only and [was|were] scaled by those",
        "images",
        done="scaled by the fewest of these bits that hold its pixels",
    ),
    "names_spelling": Rule(
        "a file name with backslashes, as URL (`%20`), with accents or with capitals "
        "otherwise than the file's",
        "file [name was|names were] written otherwise than [that of the file|those "
        "of the files]",
        "images",
        strict=False,
        done="the file is taken",
    ),
    "names_ending": Rule(
        "a file name with another ending than the only file of its name",
        "file [name|names] had another ending than the [file|files]",
        "images",
        done="the file is taken",
    ),
    "names_tail": Rule(
        "a file name with folders that are not there, of which the end fits one file "
        "only",
        "file [name|names] led elsewhere and [was|were] found by the end of "
        "[its|their] path",
        "images",
        done="the file is taken",
    ),
    "classes_by_name": Rule(
        "classes that have other ids in the splits, and the same names",
        "[class|classes] had another id than in the other splits and [was|were] "
        "matched by name",
        "classes",
        done="the ids of the first split, by name",
    ),
    "classes_added": Rule(
        "a split that lacks classes of another",
        "[class is|classes are] of other splits only and [was|were] added to the list",
        "classes",
        strict=False,
        done="added",
    ),
    "files_hidden": Rule(
        "hidden files and folders, `._*`, `.DS_Store`, `Thumbs.db`, `__MACOSX`",
        "hidden [file|files] with the ending of annotations [was|were] passed over",
        "files",
        strict=False,
        done="passed over",
    ),
    "pictures_left": Rule(
        "pictures without XML file, or a YOLO split without any label file, where no "
        "list says which are meant",
        "[picture has|pictures have] no annotation file and [was|were] left out",
        "images",
        strict=False,
        done="left out",
    ),
    "splits_left": Rule(
        "a COCO file, or a VOC list, that is called as no split beside those that are",
        "[file is|files are] called as no split and [was|were] left out; name "
        "[it|them] with --annotations, or with --split",
        "files",
        strict=False,
        done="left out",
    ),
    "lists_left": Rule(
        "`trainval` beside `train` or `val`",
        "[list repeats another split|lists repeat other splits] and [was|were] left "
        "out",
        "files",
        strict=False,
        done="left out",
    ),
}
