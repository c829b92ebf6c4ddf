"""A folder that is not converted, converted once into a folder beside it."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from libra_tf.data.convert import convert_all
from libra_tf.data.folder_listing import Listing, list_folder
from libra_tf.data.layout import layout_sources
from libra_tf.data.manifest import FILE_NAME, load_manifest, withdraw_split
from libra_tf.data.workers import default_workers
from libra_tf.errors import UserError
from libra_tf.files.json_files import read_json, write_json
from libra_tf.files.lock import locked

ENDING = "_tfr"
SOURCE_FILE = "source.json"
MANY_FILES = 1000
# Of what a conversion writes; a new form makes all caches anew.
FORMAT = 1


def converted(folder: str | Path) -> str:
    """Returns the converted folder that holds what `folder` holds.

    A converted folder, or what is no data set at all, is returned as it is. Another is
    converted into `FOLDER_tfr` beside it; that is taken as long as no file of `folder`
    has another size or time of change, and made anew else.

    Args:
        folder: what a user gave as data.

    Raises:
        UserError: it cannot be converted, or the folder beside it holds something else.
    """
    source = Path(os.path.abspath(folder))
    if (source / FILE_NAME).is_file() or not source.is_dir():
        return str(folder)
    out = source.with_name(source.name + ENDING)
    listing = list_folder(source)
    fingerprint = _fingerprint(listing)
    with locked(_lock_file(out)):
        if _holds(out, source, fingerprint):
            print(f"{source}: taken as converted before, {out}", file=sys.stderr)
            return str(out)
        print(f"{source}: is converted into {out}", file=sys.stderr)
        try:
            entries = convert_all(
                layout_sources(source), out, workers=_workers(listing)
            )
        except UserError as error:
            raise UserError(
                *error.reasons,
                f"{source}: is not converted: mend it, or convert it with other flags "
                f"(libra data convert {source} --out NEW_FOLDER), and give that as "
                "--data",
            ) from error
        for split in load_manifest(out).splits.keys() - entries.keys():
            withdraw_split(out, split)  # of files that are gone
        content = {"source": str(source), "fingerprint": fingerprint}
        write_json(out / SOURCE_FILE, content)
    return str(out)


def _workers(listing: Listing) -> int:
    """Processes that read images; to start more than one takes some seconds."""
    return default_workers() if len(listing.files) >= MANY_FILES else 1


def _lock_file(out: Path) -> Path:
    path = out.with_name(f".{out.name}.lock")
    try:
        path.touch()
    except OSError as error:
        raise UserError(
            f"{out.parent}: cannot be written: {error.strerror}; convert elsewhere "
            f"with libra data convert {out.name[: -len(ENDING)]} --out FOLDER, and "
            "give that as --data"
        ) from error
    return path


def _fingerprint(listing: Listing) -> str:
    """Of names, sizes and times of all files; not of their content, which is large."""
    digest = hashlib.sha256(f"{FORMAT}\n".encode())
    for file in listing.files:
        status = os.stat(file)
        name = os.fsencode(file.relative_to(listing.root))
        digest.update(name + f"\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _holds(out: Path, source: Path, fingerprint: str) -> bool:
    """Whether the folder is the conversion of the files as they are now.

    Raises:
        UserError: it is none of this folder, so it must not be written over.
    """
    if not (out / FILE_NAME).is_file():
        return False
    try:
        content = read_json(out / SOURCE_FILE)
        known = content["source"], content["fingerprint"]
    except (UserError, OSError, KeyError, TypeError):
        known = None, None
    if known[0] != str(source):
        raise UserError(
            f"{out}: is there and was not made of {source} by --data; give it as "
            f"--data itself, or convert {source} into another folder"
        )
    return known[1] == fingerprint
