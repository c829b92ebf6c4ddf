"""Finds the file that an annotation means where its name is written otherwise.

Names come with backslashes, as URLs (`%20`), with accents in one letter or two (NFC,
NFD), with another case or ending than the file's, or with the folders of the machine
that they were annotated on. A file is taken only if it is the only one that the name
can mean, and only from inside the image folder.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

from libra_tf.data.faults import Fault
from libra_tf.data.folder_listing import is_junk
from libra_tf.data.records import Dataset, ImageRecord
from libra_tf.data.split_names import exact_split
from libra_tf.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")
# Under which of `rules.RULES` a mended name counts.
SPELLING, ENDING, TAIL = "names_spelling", "names_ending", "names_tail"

Parts = tuple[str, ...]
Index = dict[tuple[int, str], list[Parts]]


@dataclass(frozen=True)
class Match:
    """A file inside the image folder: its path from there, and the rule it took."""

    name: str
    rule: str | None = None


def match_name(image_dir: str | Path, name: str) -> Match | None:
    """Returns the only file of the folder that `name` can mean; None if there is none.

    Tried in this order: the name as it is; another spelling of it, then another ending;
    the same with ever fewer leading folders, and in sub-folders. A leading folder is
    kept that is there, or that is another split than the image folder: `train/1.jpg`
    is never `val/1.jpg`. Nor is a file outside that exists one inside.

    Raises:
        UserError: several files can be meant.
    """
    match = match_at_place(image_dir, name)
    if match or "\0" in name:
        return match
    if _leaves(name) and os.path.exists(os.path.join(image_dir, name)):
        return _inside(image_dir, name)
    tails = (tail for parts, _ in _spellings(name) for tail in _tails(image_dir, parts))
    found = _search(image_dir, name, tails, anywhere=True)
    return Match(found.name, TAIL) if found else None


def match_at_place(image_dir: str | Path, name: str) -> Match | None:
    """As `match_name`, but only in the folder that the name says."""
    if "\0" in name:
        return None
    inside = [parts for parts, is_inside in _spellings(name) if is_inside]
    if inside and os.path.isfile(os.path.join(image_dir, name)):
        return Match(name)
    return _search(image_dir, name, inside, anywhere=False)


def settle_names(dataset: Dataset, image_dir: str | Path) -> Dataset:
    """Gives every image the name of its file; what was mended is counted.

    A name without a file stays; reading the image tells. Where several files can be
    meant, or one file by several images, the images become faults.
    """
    findings, faults = dataset.findings.copy(), list(dataset.faults)
    matches: dict[int, Match] = {}
    for image in dataset.images:
        try:
            match = match_name(image_dir, image.file_name)
            matches[image.id] = match or Match(image.file_name)
        except UserError as error:
            faults.append(
                Fault(f"{dataset.source}: image {image.id}: {error}", image.id)
            )
    faults += _shared(dataset, matches)
    images = []
    for image in dataset.images:
        if image.id in matches:
            match = matches[image.id]
            if match.rule:
                findings.add(match.rule, image.file_name)
            images.append(replace(image, file_name=match.name))
    return replace(
        dataset, images=tuple(images), findings=findings, faults=tuple(faults)
    )


def has_image_suffix(name: str) -> bool:
    """Whether a name ends as an image file's, in any case."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def nfc(text: str) -> str:
    """Returns the text with each accent and its letter in one sign."""
    return unicodedata.normalize("NFC", text)


def _shared(dataset: Dataset, matches: dict[int, Match]) -> list[Fault]:
    """Takes out images of one file, where a part of a name was left out."""
    owners: dict[str, ImageRecord] = {}
    faults = []
    for image in dataset.images:
        if image.id not in matches:
            continue
        match = matches[image.id]
        first = owners.setdefault(match.name, image)
        rules = {match.rule, matches[first.id].rule}
        if first is not image and rules & {TAIL, ENDING}:
            text = (
                f"{dataset.source}: {first} and {image} could both be the file "
                f"{match.name}; write their paths from the image folder"
            )
            faults.append(Fault(text, image.id))
            del matches[image.id]
    return faults


def _spellings(name: str) -> Iterator[tuple[Parts, bool]]:
    """Yields the parts of the path, and whether they stay inside the folder."""
    for text in dict.fromkeys((name, unquote(name))):
        # Label Studio: /data/local-files/?d=folder/a.jpg
        text = text.rpartition("?d=")[2].replace("\\", "/")
        is_absolute = bool(re.match(r"/|\w+:", text))
        parts = [part for part in text.split("/") if part not in ("", ".")]
        after = len(parts) - parts[::-1].index("..") if ".." in parts else 0
        if parts[after:]:
            yield tuple(parts[after:]), not (is_absolute or after)


def _leaves(name: str) -> bool:
    return not all(is_inside for _, is_inside in _spellings(name))


def _inside(image_dir: str | Path, name: str) -> Match | None:
    """Returns the file that is there under this very path, if it lies in the folder."""
    root = os.path.realpath(image_dir)
    path = os.path.realpath(os.path.join(root, name))
    if not path.startswith(os.path.join(root, "")):
        return None
    return Match(os.path.relpath(path, root), TAIL)


def _tails(image_dir: str | Path, parts: Parts) -> Iterator[Parts]:
    own = exact_split(os.path.basename(os.path.abspath(image_dir)))
    for start in range(len(parts)):
        left = parts[start - 1] if start else ""
        if left and os.path.isdir(os.path.join(image_dir, left)):
            return
        if own and exact_split(left) not in (None, own):
            return
        yield parts[start:]


def _search(
    image_dir: str | Path, name: str, tails: Iterable[Parts], anywhere: bool
) -> Match | None:
    index = _index(image_dir)
    for tail in tails:
        for level, (rule, key) in enumerate(_KEYS):
            files = index.get((level, key(tail[-1])), [])
            # Another ending in another folder is a mask or a thumbnail.
            deep = anywhere and rule != ENDING
            found = [p for p in files if _ends(p, tail, deep)]
            if len(found) > 1:
                raise UserError(
                    f"{name!r} can be {'/'.join(found[0])} or {'/'.join(found[1])} in "
                    f"{image_dir}; write the path of one of them from there"
                )
            if found:
                return Match("/".join(found[0]), rule)
    return None


def _ends(path: Parts, tail: Parts, anywhere: bool) -> bool:
    start = len(path) - len(tail)
    if start < 0 or (start and not anywhere):
        return False
    folders = zip(path[start:-1], tail[:-1], strict=True)
    return all(_folded(one) == _folded(two) for one, two in folders)


def _index(image_dir: str | Path) -> Index:
    try:
        changed = os.stat(image_dir).st_mtime_ns
    except OSError:
        return {}
    return _read_index(os.fspath(image_dir), changed)


@lru_cache(maxsize=16)
def _read_index(image_dir: str, changed: int) -> Index:
    """Returns (level of `_KEYS`, key) -> paths; `changed` tells an old index apart."""
    index: Index = {}
    # Links to folders could lead out of the image folder.
    for path, folders, names in os.walk(image_dir, followlinks=False):
        folders[:] = [name for name in folders if not is_junk(name)]
        above = os.path.relpath(path, image_dir).split(os.sep)
        parts = tuple(above) if above != ["."] else ()
        for name in names:
            if has_image_suffix(name) and not is_junk(name):
                for level, (_, key) in enumerate(_KEYS):
                    index.setdefault((level, key(name)), []).append((*parts, name))
    for files in index.values():
        files.sort()
    return index


def _folded(name: str) -> str:
    return nfc(name).casefold()


def _low_ending(name: str) -> str:
    stem, ending = os.path.splitext(nfc(name))
    return stem + ending.lower()


def _stem(name: str) -> str:
    return nfc(os.path.splitext(name)[0] if has_image_suffix(name) else name)


# From the closest spelling to the furthest.
_KEYS: tuple[tuple[str, Callable[[str], str]], ...] = (
    (SPELLING, nfc),
    (SPELLING, _low_ending),
    (SPELLING, _folded),
    (ENDING, _stem),
)
