"""The files of a folder without those that only an operating system put there."""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from libra_tf.errors import UserError

NUM_SHOWN = 8
JUNK_NAMES = {"thumbs.db", "desktop.ini", "ehthumbs.db"}
JUNK_FOLDERS = {"__macosx", "@eadir", "$recycle.bin"}


@dataclass(frozen=True)
class Listing:
    """Files below a folder, in order of their paths.

    Attributes:
        root: the folder.
        files: absolute or relative as the root is.
        junk: hidden files, and those in hidden folders.
        folders: all folders that are not hidden, without the root.
    """

    root: Path
    files: tuple[Path, ...]
    junk: tuple[Path, ...]
    folders: tuple[Path, ...]

    def with_suffix(self, *suffixes: str) -> list[Path]:
        """Returns the files of these endings, which are given in lower case."""
        return [file for file in self.files if file.suffix.lower() in suffixes]

    def children(self, folder: Path) -> list[Path]:
        """Returns the folders that lie directly in a folder."""
        return [each for each in self.folders if each.parent == folder]


def list_folder(root: str | Path) -> Listing:
    """Lists a folder; a folder that is reached twice by links is listed once.

    Pipes, sockets and devices are no files of a data set and are left out.

    Raises:
        UserError: a folder in it may not be read.
    """
    root = Path(root)
    files: list[Path] = []
    junk: list[Path] = []
    folders: list[Path] = []
    seen: set[str] = set()
    for path, names, file_names in os.walk(root, onerror=_refuse, followlinks=True):
        real = os.path.realpath(path)
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        here = Path(path)
        hidden = any(map(is_junk, here.relative_to(root).parts))
        if not hidden and here != root:
            folders.append(here)
        for name in file_names:
            if not _is_special(here / name):
                (junk if hidden or is_junk(name) else files).append(here / name)
    return Listing(root, *(tuple(sorted(each)) for each in (files, junk, folders)))


def summary(listing: Listing) -> str:
    """Returns what lies in a folder, in few words."""
    kinds = Counter(file.suffix.lower() or "without ending" for file in listing.files)
    top = listing.children(listing.root)
    folders = [f"{folder.relative_to(listing.root)}/" for folder in top]
    files = [f"{count} {kind}" for kind, count in kinds.most_common()]
    shown = [*folders[:NUM_SHOWN], *files[:NUM_SHOWN]]
    more = ["..."] if len(shown) < len(folders) + len(files) else []
    hidden = [f"{len(listing.junk)} hidden"] if listing.junk else []
    return ", ".join([*shown, *more, *hidden]) or "nothing"


def _is_special(path: Path) -> bool:
    """Whether it is a pipe, socket or device, which reading would wait for."""
    try:
        mode = os.stat(path).st_mode
    except OSError:  # A broken link is told by its reader.
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _refuse(error: OSError) -> None:
    if isinstance(error, PermissionError):  # What is not there is told by its reader.
        raise UserError(
            f"{error.filename}: cannot be read: {error.strerror}"
        ) from error


def is_junk(name: str) -> bool:
    """Whether a file or folder is hidden, or put there by an operating system."""
    low = name.lower()
    return name.startswith(".") or low in JUNK_NAMES or low in JUNK_FOLDERS
