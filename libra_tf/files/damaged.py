"""The folder beside a file in which its damaged original is kept."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from pathlib import Path

from libra_tf.files.atomic import draft_of, make_folder

DAMAGED = "damaged"


def keep_original(path: Path, name: str | None = None) -> Path:
    """Keeps a file as it is, so that its place may be taken by a mended one.

    Args:
        path: of the file; it stays there too.
        name: in the folder `damaged` beside it, where a number follows if the name is
            taken; None: its own.

    Returns:
        Where it is kept: a link where the disk has links, else a copy.

    Raises:
        UserError: the folder cannot be made.
    """
    folder = make_folder(path.with_name(DAMAGED))
    for number in itertools.count(1):
        kept = folder / f"{name or path.name}{f'.{number}' if number > 1 else ''}"
        if kept.exists() and kept.samefile(path):
            return kept
        if not kept.exists():
            with contextlib.suppress(OSError):
                os.link(path, kept)
                return kept
            with draft_of(kept) as draft:
                shutil.copy2(path, draft)
            return kept
    raise AssertionError("there is always a next number")
