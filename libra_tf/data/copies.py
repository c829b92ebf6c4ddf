"""Pictures that occur more than once, in a split or in two, known by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

from libra_tf.data.findings import Findings
from libra_tf.data.manifest import read_content
from libra_tf.errors import UserError
from libra_tf.files.json_files import read_json

HASH_BYTES = 8

Hashes = Mapping[str, str]  # Of the pictures of a split, by file name.


def picture_hash(data: bytes) -> str:
    """Returns a short hash of what the records hold of a picture."""
    return hashlib.blake2b(data, digest_size=HASH_BYTES).hexdigest()


def hash_file(split: str) -> str:
    """Returns the name of the file with a split's hashes."""
    return f"{split}.hashes.json"


def hashes_of_others(out: Path, splits: Collection[str]) -> dict[str, Hashes]:
    """Returns the hashes of the folder's other splits; older folders have none."""
    others: dict[str, Hashes] = {}
    for split in read_content(out)["splits"]:
        path = out / hash_file(split)
        if split not in splits and path.is_file():
            others[split] = _read_hashes(path)
    return others


def _read_hashes(path: Path) -> Hashes:
    content = read_json(path)
    pairs = content.items() if isinstance(content, dict) else [(None, None)]
    for name, value in pairs:
        if not (isinstance(name, str) and isinstance(value, str)):
            raise UserError(
                f"{path}: {name!r} is not a file name with its hash; remove the file: "
                "copies of that split's pictures are not found then"
            )
    return dict(pairs)


def check_copies(
    hashes: Hashes, others: Mapping[str, Hashes], findings: Findings
) -> None:
    """Counts the pictures that have a copy.

    Args:
        hashes: of the split.
        others: of the other splits, by name.
        findings: counts by the rules "equal_pictures" and "shared_pictures".
    """
    seen: set[str] = set()
    for name, value in hashes.items():
        if value in seen:
            findings.add("equal_pictures", name)
        seen.add(value)
    owners = {
        value: f"{split}: {name}"
        for split, pictures in others.items()
        for name, value in pictures.items()
    }
    for name, value in hashes.items():
        if value in owners:
            findings.add("shared_pictures", f"{name} ({owners[value]})")
