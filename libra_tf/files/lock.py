"""Keeps two processes out of one folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from libra_tf.errors import UserError
from libra_tf.files.atomic import kept_if_filled


@contextlib.contextmanager
def locked(path: str | os.PathLike, *, busy: str | None = None) -> Iterator[None]:
    """Holds a lock while the body runs; it ends with the process at the latest.

    Where there are no locks (Windows, some network file systems) the body runs without
    one.

    Args:
        path: an existing folder, or a file, which is made.
        busy: what to say if another process holds the lock; None waits for it.

    Raises:
        UserError: another process holds the lock, and `busy` is given.
    """
    try:
        import fcntl
    except ImportError:  # not a Unix
        yield
        return
    flags = os.O_RDONLY if Path(path).is_dir() else os.O_CREAT | os.O_RDWR
    handle = os.open(path, flags)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError as error:
            raise UserError(busy or str(error)) from error
        except OSError:  # a file system without locks
            pass
        if not _is_there(path, handle):  # removed by its last holder in between
            with locked(path, busy=busy):
                yield
            return
        yield
    finally:
        os.close(handle)


def _is_there(path: str | os.PathLike, handle: int) -> bool:
    """Whether a path still leads to what was opened."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except OSError:
        return False


@contextlib.contextmanager
def locked_run(folder: str) -> Iterator[None]:
    """Keeps a second training out of a run's folder; see `locked`.

    The folder is made. Where the body is refused before it has written anything, no
    trace is left of the lock, nor of folders that were made for it.
    """
    lock = Path(folder, ".lock")
    busy = f"{folder} is being trained by another process; wait, or give another folder"
    with kept_if_filled(folder), locked(lock, busy=busy):
        try:
            yield
        except UserError:
            # The folder may be gone; what is told is why the body was refused.
            with contextlib.suppress(OSError):
                if {*os.listdir(folder)} <= {lock.name}:
                    lock.unlink(missing_ok=True)
            raise
