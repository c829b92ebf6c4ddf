"""Where the images of annotations lie: the folders that people and exporters use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from libra_tf.data.folder_listing import Listing
from libra_tf.data.image_names import Match, match_at_place, match_name
from libra_tf.data.split_names import UNSPLIT, exact_split, known_split
from libra_tf.errors import UserError

IMAGE_FOLDERS = {
    "images", "image", "imgs", "img", "jpegimages", "jpgimages", "pictures", "photos",
    "frames", "data",
}  # fmt: skip
OTHER_SUFFIXES = {".json", ".xml", ".txt", ".csv", ".md", ".yaml", ".html", ".pbtxt"}
NUM_TRIED = 40
NONE = (0, 0, 0)

Score = tuple[int, int, int]
Matcher = Callable[[str | Path, str], Match | None]


def image_folders(listing: Listing, base: Path, raw: str) -> tuple[Path, ...]:
    """Returns the folders with images that may be a split's, the likeliest first.

    Beside the annotations; in `images/SPLIT`, `SPLIT` or `images` there or in a folder
    above; the only folder that holds images, whatever its name; the root.

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
    images = [f for f in listing.files if f.suffix.lower() not in OTHER_SUFFIXES]
    holding = {file.parent for file in images}
    found += [*(holding if len(holding) == 1 else ()), listing.root]
    filled = {above for folder in holding for above in (folder, *folder.parents)}
    return tuple(dict.fromkeys(f for f in found if f in filled)) or (listing.root,)


def pick_folder(folders: Sequence[Path], names: Sequence[str]) -> Path | None:
    """Returns the folder that holds most of the images; None if none holds any.

    Args:
        folders: the likeliest first.
        names: of all images; some are tried.
    """
    tried = names[:: max(len(names) // NUM_TRIED, 1)]
    matchers: tuple[Matcher, ...] = (match_at_place, match_name)
    for matcher in matchers:
        scores: dict[Path, Score] = {}
        for folder in folders:
            scores[folder] = _score(folder, tried, matcher)
            if matcher is match_at_place and scores[folder][0] == len(tried):
                return folder
        best = max(folders, key=lambda folder: scores[folder])
        if scores[best] > NONE:
            return best
    return None


def _of_split(folders: Sequence[Path], raw: str) -> Iterator[Path]:
    """Yields the folders that are called as the split, the exact name first."""
    split = known_split(raw)
    for folder in sorted(folders, key=lambda f: f.name != raw):
        is_same = folder.name.lower() in (raw.lower(), UNSPLIT)
        if is_same or (split and exact_split(folder.name) == split):
            yield folder


def _score(folder: Path, names: Sequence[str], matcher: Matcher) -> Score:
    """Returns how many files are found, with those of several, how few folders deep."""
    found, several = [], 0
    for name in names:
        try:
            match = matcher(folder, name)
        except UserError:  # Reading the record tells.
            several += 1
        else:
            found += [match.name] if match else []
    depth = sum(name.count("/") for name in found)
    return len(found), len(found) + several, -depth
