"""Whether a program can write what it is about to, before it changes anything."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from libra_tf.errors import UserError
from libra_tf.files.atomic import draft_name


def require_writable(
    folders: Iterable[str | os.PathLike],
    grown: Iterable[str | os.PathLike] = (),
    replaced: Iterable[str | os.PathLike] = (),
) -> None:
    """Refuses to begin where something could not be written later; changes nothing.

    Args:
        folders: in which files are made; those that are not there yet are left out.
        grown: files to which is written at their end, if they are there.
        replaced: files that are written anew, if they are there.

    Raises:
        UserError: names the first path that is in the way, or may not be written.
    """
    for path in map(Path, folders):
        if path.exists() and not path.is_dir():
            raise UserError(f"{path}: is a file, but a folder is needed; move it away")
        if path.is_dir():
            _try_folder(path)
    for path in map(Path, grown):
        _try_file(path, allowed=())
    for path in map(Path, replaced):
        # Its folder counts, unless it is marked as one that never changes.
        _try_file(path, allowed=(errno.EACCES,))


def _try_folder(path: Path) -> None:
    draft = draft_name(path / "writable")
    try:
        draft.touch()
        draft.unlink()
    except OSError as error:
        raise UserError(
            f"{path}: nothing can be written into this folder ({error.strerror}); make "
            "it writable, or give another one"
        ) from error


def _try_file(path: Path, allowed: tuple[int, ...]) -> None:
    if not path.exists():
        return
    if path.is_dir():
        raise UserError(f"{path}: is a folder, but a file is needed; move it away")
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND))
    except OSError as error:
        if error.errno not in allowed:
            raise UserError(
                f"{path}: cannot be written ({error.strerror}); make it writable, or "
                "give another folder"
            ) from error
