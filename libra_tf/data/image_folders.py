"""Where the images of annotations lie: the folders that people and exporters use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from libra_tf.data.folder_listing import Listing
from libra_tf.data.image_names import Match, match_at_place, match_name
from libra_tf.data.split_names import UNSPLIT, USUAL_SPLITS, exact_split, known_split
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
    above; the only folder that holds images, whatever its name; the root. Never in a
    folder that is called as another split.

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
    found = [
        folder
        for folder in found
        if folder in filled
        and not _names_other(folder.relative_to(listing.root).parts, raw)
    ]
    return tuple(dict.fromkeys(found)) or (base,)


def _names_other(folders: Iterable[str], raw: str) -> bool:
    """Whether one is called as another split, whose pictures may have equal names."""
    split = exact_split(raw)
    others = [name for name in USUAL_SPLITS if name != split]
    return split in USUAL_SPLITS and any(exact_split(f) in others for f in folders)


def pick_folder(
    folders: Sequence[Path], names: Sequence[str], split: str
) -> Path | None:
    """Returns the folder that holds most of the images; None if none holds any.

    Args:
        folders: the likeliest first.
        names: of all images; some are tried.
        split: in whose other splits' folders no image is looked for.
    """
    tried = names[:: max(len(names) // NUM_TRIED, 1)]
    matchers: tuple[Matcher, ...] = (match_at_place, match_name)
    for matcher in matchers:
        scores: dict[Path, Score] = {}
        for folder in folders:
            scores[folder] = _score(folder, tried, matcher, split)
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


def _added(path: str, name: str) -> set[str]:
    """Returns the folders of a path that the name does not tell."""
    return set(path.split("/")[:-1]) - set(name.replace("\\", "/").split("/"))


def _score(folder: Path, names: Sequence[str], matcher: Matcher, split: str) -> Score:
    """Returns how many files are found, with those of several, how few folders deep."""
    found, several = [], 0
    for name in names:
        try:
            match = matcher(folder, name)
        except UserError:  # Reading the record tells.
            several += 1
            continue
        if match and not _names_other(_added(match.name, name), split):
            found.append(match.name)
    depth = sum(name.count("/") for name in found)
    return len(found), len(found) + several, -depth
