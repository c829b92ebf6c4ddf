"""Faults of the disk, in one line that names the place."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from libra_tf.errors import UserError

# Of a lack of space, where it helps to know how much there is.
_NUMBERS_OF_SPACE = {errno.EDQUOT, errno.EFBIG, errno.ENOSPC}
_NUMBERS = {
    *_NUMBERS_OF_SPACE,
    errno.EACCES,
    errno.EIO,
    errno.EISDIR,
    errno.EMFILE,
    errno.ENAMETOOLONG,
    errno.ESTALE,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}
# TensorFlow has no error of its own for each of these; they are in its texts.
_TENSORFLOW = "tensorflow.python.framework.errors_impl"
_WORDS_OF_SPACE = ("no space left", "quota", "file too large")
_WORDS = (
    *_WORDS_OF_SPACE,
    "read-only file system",
    "permission denied",
    "no such file or directory",
    "input/output error",
    "not a directory",
    "is a directory",
    "file name too long",
    "stale file handle",
    "too many open files",
)


def disk_fault(
    error: BaseException, needed: int = 0, folder: str = ""
) -> UserError | None:
    """Returns one line for an error of the disk; None for any other error.

    Args:
        error: of Python, or one of TensorFlow's.
        needed: bytes of what was written, if known; told of a lack of space only.
        folder: where it was written, if known.
    """
    if isinstance(error, OSError):
        if error.errno not in _NUMBERS:
            return None
        where = str(error.filename or "")
        text = f"{where}: {error.strerror}" if where else str(error.strerror)
        is_space = error.errno in _NUMBERS_OF_SPACE
    elif type(error).__module__ == _TENSORFLOW:
        where, text = "", str(getattr(error, "message", error)).splitlines()[0]
        if not any(word in text.lower() for word in _WORDS):
            return None
        is_space = any(word in text.lower() for word in _WORDS_OF_SPACE)
        where = next((x for x in text.replace(";", " ").split() if x[0] == "/"), "")
    else:
        return None
    where = where or folder
    if where and where not in text:
        text = f"{where}: {text}"
    if not is_space:
        return UserError(text)
    free = free_bytes(where) if where else None
    facts = [f"{megabytes(free)} free there"] if free is not None else []
    facts += [f"{megabytes(needed)} needed"] if needed else []
    return UserError(text + (f" ({', '.join(facts)})" if facts else ""))


@contextlib.contextmanager
def named_disk_errors(needed: int = 0, folder: str = "") -> Iterator[None]:
    """Raises `UserError` for an error of the disk; see `disk_fault`."""
    try:
        yield
    except Exception as error:
        fault = disk_fault(error, needed, folder)
        if fault is None:
            raise
        raise fault from error


def require_space(folder: str, needed: int) -> None:
    """Refuses to begin where not even one checkpoint fits.

    Raises:
        UserError: less than `needed` bytes are free.
    """
    free = free_bytes(folder)
    if free is not None and free < needed:
        raise UserError(
            f"{folder}: a checkpoint takes {megabytes(needed)}, and this disk has "
            f"{megabytes(free)} free; make room, or give another folder"
        )


def free_bytes(path: str) -> int | None:
    """Returns the free bytes where a path is or would be; None if nobody knows."""
    for folder in (Path(path), *Path(path).parents):
        if os.path.isdir(folder):
            with contextlib.suppress(OSError):
                return shutil.disk_usage(folder).free
    return None


def megabytes(count: int) -> str:
    """Returns bytes as text."""
    return f"{count / 1e6:,.1f} MB"
