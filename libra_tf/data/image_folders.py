"""Where the images of annotations lie: the folders that people and exporters use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from libra_tf.data.folder_listing import Listing
from libra_tf.data.image_names import Match, match_at_place, match_name
from libra_tf.data.split_names import exact_split
from libra_tf.errors import UserError

IMAGE_FOLDERS = {
    "images", "image", "imgs", "img", "jpegimages", "jpgimages", "pictures", "photos",
    "frames", "data",
}  # fmt: skip
NUM_TRIED = 40

Matcher = Callable[[str | Path, str], Match | None]


def image_folders(listing: Listing, base: Path, raw: str) -> tuple[Path, ...]:
    """Returns the folders where a split's images may lie, the likeliest first.

    Beside the annotations; in `images/SPLIT`, `SPLIT` or `images` there or in a folder
    above.

    Args:
        listing: of the data set.
        base: the folder of the annotations.
        raw: the split as it is called there.
    """
    found = [base]
    for folder in (base, *base.parents):
        children = sorted(listing.children(folder), key=lambda c: c.name != raw)
        usual = [child for child in children if child.name.lower() in IMAGE_FOLDERS]
        for child in usual:
            found += _of_split(listing.children(child), raw)
        found += [*_of_split(children, raw), *usual]
        if folder == listing.root:
            break
    return tuple(dict.fromkeys((*found, listing.root)))


def pick_folder(folders: Sequence[Path], names: Sequence[str]) -> Path | None:
    """Returns the folder that holds most of the images; None if none holds any.

    Args:
        folders: the likeliest first.
        names: of all images; some are tried.
    """
    tried = names[:: max(len(names) // NUM_TRIED, 1)]
    matchers: tuple[Matcher, ...] = (match_at_place, match_name)
    for matcher in matchers:
        counts = {
            f: sum(_is_there(f, name, matcher) for name in tried) for f in folders
        }
        best = max(folders, key=lambda folder: counts[folder], default=None)
        if best is not None and counts[best]:
            return best
    return None


def _of_split(folders: Sequence[Path], raw: str) -> Iterator[Path]:
    """Yields the folders that are called as the split, the exact name first."""
    for folder in sorted(folders, key=lambda f: f.name != raw):
        split = exact_split(raw)
        if folder.name == raw or (split and exact_split(folder.name) == split):
            yield folder


def _is_there(folder: Path, name: str, matcher: Matcher) -> bool:
    try:
        return matcher(folder, name) is not None
    except UserError:  # Several: reading the record tells.
        return True
