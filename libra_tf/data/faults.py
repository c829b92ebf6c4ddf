"""What cannot be used: collected over a split, and refused or skipped together.

The table `REFUSED` is the second half of the rule book; `docs/data.md` shows it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from libra_tf.errors import UserError, printable

NUM_SHOWN = 10
DEFAULT_SHARE = 0.01
# More than a path may have.
_LONG = re.compile(r"[^\s/]{300,}")


@dataclass(frozen=True)
class Refusal:
    """A row of the rule book: what the files hold, and words of what is said."""

    input: str
    text: str


REFUSED = {
    "missing_picture": Refusal("a picture that is not there", "cannot be read"),
    "broken_picture": Refusal("a picture that is cut short or broken", "replace or"),
    "other_size": Refusal(
        "a picture of another size than the annotations say", "the annotations say"
    ),
    "exif": Refusal(
        "a picture that its EXIF tag turns, annotated at the size of the stored pixels "
        "or at none, without `--exif`",
        "EXIF orientation is",
    ),
    "frames": Refusal("a picture of several frames", "save the annotated one alone"),
    "many_pixels": Refusal("a picture of more than `--max-pixels`", "--max-pixels"),
    "outside": Refusal(
        "a file name that leaves the image folder", "must stay inside the image folder"
    ),
    "image_twice": Refusal("two images of one id", "give every image its own id"),
    "no_image": Refusal("an object of no known image", "is not among the images"),
    "no_category": Refusal("an object of no known class", "is not among the"),
    "bad_box": Refusal(
        "a box that is not four finite numbers, or none", "bbox"
    ),
    "bad_mask": Refusal(
        "a segmentation that is neither polygons nor run lengths of the picture",
        "segmentation",
    ),
    "bad_value": Refusal(
        "an id, size, area, `iscrowd` or `difficult` that means nothing", "must be"
    ),
    "no_name": Refusal("an object or class without name", "name"),
    "bad_xml": Refusal("an XML file that is not well-formed", "not valid XML"),
    "all_normalized": Refusal(
        "boxes of the whole split in 0..1, as fractions", "multiply them"
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """Why something cannot be used.

    Attributes:
        text: one line that names file and record and what to do.
        image: id of the picture to leave out; a text where the records have no such
            picture. None: leaving pictures out would not help.
        file_name: of the picture's own annotations, where its id is a mere number.
        is_orphan: it is an object of no known picture, to be left out by itself.
    """

    text: str
    image: int | str | None = None
    file_name: str = ""
    is_orphan: bool = False


def fault_lines(faults: Collection[Fault]) -> list[str]:
    """Returns one line for each of the first, and how many more there are."""
    shown = itertools.islice(faults, NUM_SHOWN)
    lines = [_shortened(printable(fault.text)) for fault in shown]
    more = len(faults) - len(lines)
    return [*lines, f"and {more} more"] if more else lines


def _shortened(text: str) -> str:
    """Cuts names and numbers of thousands of letters, which would fill the screen."""
    return _LONG.sub(lambda long: f"{long[0][:100]}...{long[0][-20:]}", text)


def refuse_faults(faults: Collection[Fault]) -> None:
    """Raises `UserError` with all that is wrong, unless nothing is."""
    if faults:
        raise UserError(*fault_lines(faults))


def bad_images(faults: Iterable[Fault]) -> set[int | str]:
    """Returns the pictures that would have to be left out."""
    return {fault.image for fault in faults if fault.image is not None}


def orphans(faults: Iterable[Fault]) -> list[Fault]:
    """Returns the objects of no known picture."""
    return [fault for fault in faults if fault.is_orphan]


def refusal_lines(
    faults: Collection[Fault],
    num_images: int,
    share: float | None,
    num_objects: int = 0,
) -> list[str]:
    """Returns why a split is refused; nothing where what is bad may be skipped.

    Args:
        faults: of the split.
        num_images: pictures of the split, good and bad.
        share: of the pictures, and of the objects, that may be left out; None: none.
        num_objects: of the split, with those of no known picture.
    """
    lines = fault_lines(faults)
    bad, lone = len(bad_images(faults)), len(orphans(faults))
    counts = (
        (bad, f"{bad} of {num_images} pictures are bad", num_images),
        (lone, f"{lone} of {num_objects} objects are of no known image", num_objects),
    )
    if share is None:
        told = "; ".join(text for count, text, _ in counts if count > 1)
        cure = f"{told}: mend them, or leave them out with --skip-bad"
        return [*lines, cure] if told else lines
    if any(fault.image is None and not fault.is_orphan for fault in faults):
        return lines
    told = "; ".join(text for count, text, all_ in counts if count > share * all_)
    cure = f"{told}, more than the share {share:g} of --skip-bad: mend them, or give a "
    return [*lines, f"{cure}larger share"] if told else []


def skipped_lines(faults: Iterable[Fault]) -> list[str]:
    """Returns the lines of `SPLIT.skipped.txt`: one reason each."""
    return [" ".join(fault.text.split()) + "\n" for fault in faults]
