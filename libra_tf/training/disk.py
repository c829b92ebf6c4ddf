"""Faults of the disk, in one line that names the place."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from libra_tf.errors import UserError

# What TensorFlow makes of a full disk, a quota, a limit of file sizes, a folder that is
# gone or may not be written.
_ERRORS = (
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.NotFoundError,
    tf.errors.OutOfRangeError,
    tf.errors.PermissionDeniedError,
    tf.errors.ResourceExhaustedError,
    tf.errors.UnknownError,
)
_WORDS = (
    "no space left",
    "quota",
    "file too large",
    "read-only",
    "permission denied",
    "no such file or directory",
    "not found",
    "input/output error",
)


@contextlib.contextmanager
def named_disk_errors(folder: str, needed: int = 0) -> Iterator[None]:
    """Makes one line of a failure to write below a folder.

    Args:
        folder: where the body writes.
        needed: bytes of the largest thing that it writes, if known.

    Raises:
        UserError: the disk is full, may not be written, or the folder is gone.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        raise _one_line(str(where), error.strerror or str(error), needed) from error
    except _ERRORS as error:
        text = str(error.message).splitlines()[0]
        if folder not in text and not any(word in text.lower() for word in _WORDS):
            raise
        raise _one_line(folder, text, needed) from error


def require_space(folder: str, needed: int) -> None:
    """Refuses to begin where not even one checkpoint fits.

    Raises:
        UserError: less than `needed` bytes are free.
    """
    free = _free(folder)
    if free is not None and free < needed:
        raise UserError(
            f"{folder}: a checkpoint takes {_megabytes(needed)}, and this disk has "
            f"{_megabytes(free)} free; make room, or give another folder"
        )


def _one_line(where: str, what: str, needed: int) -> UserError:
    text = f"{where}: cannot be written: {what}"
    free = _free(where)
    if free is not None:
        text += f" ({_megabytes(free)} free"
        text += f", a checkpoint takes {_megabytes(needed)})" if needed else ")"
    return UserError(f"{text}; what was saved before is intact")


def _free(path: str) -> int | None:
    """Free bytes where a path is or would be; None where nobody knows."""
    for folder in (Path(path), *Path(path).parents):
        if folder.is_dir():
            with contextlib.suppress(OSError):
                return shutil.disk_usage(folder).free
    return None


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
