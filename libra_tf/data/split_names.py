"""Names of splits as people and exporters write them, and what they are called here.

`Train`, `training`, `train2017` are the split `train`; `valid`, `Validation`, `dev` are
`val`; `testing`, `test-dev2017` are `test`.
"""

from __future__ import annotations

import re

USUAL_SPLITS = ("train", "val", "test")
# Both halves of a set in one list, as Pascal VOC has it.
TRAINVAL = "trainval"
# A set that nobody has parted, as CVAT calls it.
UNSPLIT = "default"

_WORDS = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing", "tst"),
    TRAINVAL: (TRAINVAL, "trainvalid"),
}
_NAMES = {word: name for name, words in _WORDS.items() for word in words}
_WORD = re.compile(rf"({'|'.join(_NAMES)})(?:sets?)?\d*")
_ALONE = re.compile(r"dev(?:set)?[-_ ]?\d*")
_BREAK = re.compile(r"[-_. ()\[\]]+")


def exact_split(raw: str) -> str | None:
    """Returns train, val, test or trainval where the whole name says so, else None.

    Years may follow (`train2012`, `val_2017`), other words not: VOC's `train_val` is
    the list of one class, trains.
    """
    words = [word for word in _BREAK.split(raw.lower()) if word]
    found = [_split_of(word) for word in words]
    if len(words) == 2 and words[1] in ("set", "split"):
        return found[0]
    if _ALONE.fullmatch(raw.lower()):
        return "val"
    return found[0] if found and all(w.isdigit() for w in words[1:]) else None


def known_split(raw: str) -> str | None:
    """Returns train, val, test or trainval where one word of the name says so.

    The first word counts before the last, the last before those between:
    `test-dev2017` is test, `cells_train.v2` is train.
    """
    words = [word for word in _BREAK.split(raw.lower()) if word]
    if not words or exact_split(raw):
        return exact_split(raw)
    order = (words[0], words[-1], *words[1:-1])
    return next((name for name in map(_split_of, order) if name), None)


def split_name(raw: str) -> str:
    """Returns what a split is called here: a usual name, else its own, made plain."""
    return known_split(raw) or plain_name(raw)


def plain_name(raw: str) -> str:
    """Returns the name with `_` for all that is neither letter, digit nor `_`."""
    return re.sub(r"[^A-Za-z0-9_]", "_", raw)


def _split_of(word: str) -> str | None:
    match = _WORD.fullmatch(word)
    return _NAMES[match[1]] if match else None
