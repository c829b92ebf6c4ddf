"""Folders, and files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from libra_tf.errors import UserError

_DRAFT = ".tmp"  # ends the name of what is being written, after the process's number
_LONGEST = 200  # bytes; of 255 that a name may have


def make_folder(path: str | os.PathLike) -> Path:
    """Makes a folder and those above it; raises `UserError` if it cannot."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{path}: this folder cannot be made: {error.strerror}; name another one"
        ) from error
    return Path(path)


@contextlib.contextmanager
def kept_if_filled(path: str | os.PathLike) -> Iterator[Path]:
    """Makes a folder and those above it, and removes what it made if nothing came in.

    Raises:
        UserError: it cannot be made.
    """
    above = [Path(path), *Path(path).parents]
    made = [folder for folder in above if not os.path.exists(folder)]
    try:
        yield make_folder(path)
    finally:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def sync(path: Path) -> None:
    """Waits until the file's (or folder's) content is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, pieces: Iterable[str]) -> None:
    """Writes text under a hidden name, then renames; cleans up on failure.

    Names of files may hold bytes that are no text: those are written as escapes.
    """
    write_bytes(path, (piece.encode("utf-8", "backslashreplace") for piece in pieces))


def write_bytes(path: Path, pieces: Iterable[bytes]) -> None:
    """Writes the pieces under a hidden name, then renames; cleans up on failure."""
    with draft_of(path) as draft, open(draft, "wb") as file:
        file.writelines(pieces)


@contextlib.contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """Gives the hidden name to write a file under; it takes the place of `path` after.

    If what is within raises, the draft goes and `path` is as it was.
    """
    draft = draft_name(path)
    try:
        yield draft
        sync(draft)
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def draft_folder(path: Path) -> Iterator[Path]:
    """The same of a folder, which is not there yet; those above it are made."""
    draft = draft_name(path)
    make_folder(draft)
    try:
        yield draft
        os.replace(draft, path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def draft_name(path: Path) -> Path:
    """Returns the hidden name, of this process, for what is to take a path's place."""
    name = path.name
    if len(os.fsencode(name)) > _LONGEST:  # no room for what is put around it
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return path.with_name(f".{name}.{os.getpid()}{_DRAFT}")


def abandoned_drafts(folder: str | os.PathLike) -> list[Path]:
    """Returns what killed processes left of files that they were writing."""
    drafts = sorted(Path(folder).glob(f".*{_DRAFT}"))
    return [path for path in drafts if not _is_alive(path.name.split(".")[-2])]


def _is_alive(pid: str) -> bool:
    """Whether a process runs; what is no number counts as one that does."""
    if not pid.isdigit():
        return True
    with contextlib.suppress(PermissionError):
        try:
            os.kill(int(pid), 0)
        except (ProcessLookupError, OverflowError):
            return False
    return True
