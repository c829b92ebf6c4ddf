"""Finds the splits of a folder, as people and exporters lay them out.

`layout_coco`, `layout_voc` and `layout_yolo` know the forms; `docs/data.md` has them as
a table. The readers below get a file, or a list of files, and a folder of images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from libra_tf.data.class_list import one_class_list
from libra_tf.data.folder_listing import Listing, list_folder, summary
from libra_tf.data.layout_coco import (
    CocoSource,
    find_coco,
    has_usual_names,
    left_files,
)
from libra_tf.data.layout_voc import VocSource, find_voc, left_lists, left_pictures
from libra_tf.data.layout_yolo import YoloSource, find_yolo, unlabelled_pictures
from libra_tf.data.parts import part
from libra_tf.data.records import Dataset
from libra_tf.data.split_names import (
    TRAINVAL,
    UNSPLIT,
    USUAL_SPLITS,
    exact_split,
    plain_name,
    split_name,
)
from libra_tf.errors import UserError

SplitSource = CocoSource | VocSource | YoloSource
# Form to its name; one may be asked for, where a folder holds several.
FORMS = {"coco": "COCO", "voc": "Pascal VOC", "yolo": "YOLO"}


@dataclass(frozen=True)
class Layout:
    """What a folder holds.

    Attributes:
        listing: its files.
        sources: the splits, train first; a set that is not parted has one, `UNSPLIT`.
        left: lists that repeat other splits.
        others: COCO files or lists that are called as no split.
    """

    listing: Listing
    sources: tuple[SplitSource, ...]
    left: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()


def layout_sources(
    folder: str | Path,
    split: str | None = None,
    *,
    classes: Sequence[str] | None = None,
    difficult: str = "crowd",
    val_fraction: float | None = None,
    seed: int = 0,
    form: str | None = None,
) -> Iterator[tuple[str, Dataset, Path]]:
    """Yields name, data set and image folder of every split, or of one.

    All splits are read, and have the classes of all.

    Args:
        folder: in COCO's or Pascal VOC's layout, or as an exporter left it.
        split: only this one; or the name for a set that is not parted.
        classes: the names in order of their ids, from 1.
        difficult: see `read_voc`.
        val_fraction: parts a set that has no splits; see `part`.
        seed: of the parting.
        form: of `FORMS`: do not look for the others.

    Raises:
        UserError: nothing is found, or no such split, or no split at all.
    """
    layout = find_layout(folder, split, form)
    sources = _chosen_names(layout, split, val_fraction)
    read = [source.read(difficult) for source in sources]
    datasets = one_class_list(
        [dataset for dataset, _ in read], classes, isinstance(sources[0], VocSource)
    )
    named = [
        (source.name, dataset, image_dir)
        for source, dataset, (_, image_dir) in zip(sources, datasets, read, strict=True)
        if _is_wanted(split, source.name, sources)
    ]
    name, dataset, image_dir = named[0]
    named[0] = (name, _with_findings(dataset, layout, read), image_dir)
    if val_fraction is not None:
        parts = part(named[0][1], val_fraction, seed)
        named = [(n, d, image_dir) for n, d in zip(USUAL_SPLITS, parts, strict=False)]
    yield from named


def find_layout(
    folder: str | Path, split: str | None = None, form: str | None = None
) -> Layout:
    """Returns the splits of a folder.

    Args:
        folder: see `layout_sources`.
        split: a list of VOC that is taken too, though it is called as no split.
        form: of `FORMS`: do not look for the others.

    Raises:
        UserError: nothing is found, or two sources of one split.
    """
    listing = list_folder(folder)
    coco, voc, yolo = _find_forms(listing, split, form)
    sources, left = _settle_trainval(coco or voc or yolo, split)
    if not sources:
        raise UserError(_nothing_found(listing, form))
    _refuse_two(sources)
    order = {name: rank for rank, name in enumerate(USUAL_SPLITS)}
    sources.sort(key=lambda source: (order.get(source.name, len(order)), source.name))
    others = left_files(listing, coco) if coco else left_lists(listing, voc)
    return Layout(listing, tuple(sources), tuple(left), tuple(others))


def _find_forms(
    listing: Listing, split: str | None, form: str | None
) -> tuple[list[CocoSource], list[VocSource], list[YoloSource]]:
    """Returns the sources of each form, of which one at most has any."""
    coco = find_coco(listing) if form in (None, "coco") else []
    usual = any(map(has_usual_names, coco))
    voc = find_voc(listing, split) if form in (None, "voc") and not usual else []
    yolo = find_yolo(listing) if form in (None, "yolo") and not usual else []
    found: dict[str, Sequence[SplitSource]] = {"coco": coco, "voc": voc, "yolo": yolo}
    held = {key: sources[0].origin for key, sources in found.items() if sources}
    if len(held) > 1:
        forms = " and ".join(f"{FORMS[key]} ({file})" for key, file in held.items())
        ways = " or ".join(f"--from {key}" for key in held)
        raise UserError(f"{listing.root}: holds {forms}; choose one with {ways}")
    return coco, voc, yolo


def _settle_trainval(
    sources: Sequence[SplitSource], split: str | None
) -> tuple[list[SplitSource], list[Path]]:
    """Takes train and val in one list for train, unless one of them is there too."""
    names = {source.name for source in sources}
    if split is not None and exact_split(split) == TRAINVAL:
        return list(sources), []
    if names & {"train", "val"}:
        left = [source.origin for source in sources if source.name == TRAINVAL]
        return [source for source in sources if source.name != TRAINVAL], left
    renamed = {TRAINVAL: "train"}
    return [replace(s, name=renamed.get(s.name, s.name)) for s in sources], []


def _refuse_two(sources: Sequence[SplitSource]) -> None:
    first: dict[str, Path] = {}
    for source in sources:
        other = first.setdefault(source.name, source.origin)
        if other is not source.origin:
            name = "without a split's name"
            if source.name != UNSPLIT:
                name = f"the split {source.name}"
            raise UserError(
                f"{other} and {source.origin} are both {name}; rename or move one of "
                "them, or name one with --annotations and --images"
            )


def _chosen_names(
    layout: Layout, split: str | None, val_fraction: float | None
) -> list[SplitSource]:
    """Returns the sources to read, under the names that they are converted by."""
    sources, root = list(layout.sources), layout.listing.root
    names = ", ".join(source.name for source in sources)
    if val_fraction is not None:
        if split is not None or len(sources) > 1 or names not in (UNSPLIT, "train"):
            has = f"the splits {names}" if split is None else f"--split {split}"
            raise UserError(
                f"{root}: --val-fraction parts a set without splits, and here is "
                f"{has}; leave one of them out"
            )
    elif names == UNSPLIT:
        if split is None:
            origin = sources[0].origin
            where = "" if origin == root else f"{origin} "
            raise UserError(
                f"{root}: {where}is no split; part it by pictures with --val-fraction "
                "0.2, or give it a name with --split train"
            )
        return [replace(sources[0], name=exact_split(split) or split)]
    elif split is not None and not any(
        _is_wanted(split, s.name, sources) for s in sources
    ):
        raise UserError(f"{root}: no split {split!r}; there are: {names}")
    return sources


def _is_wanted(split: str | None, name: str, sources: Sequence[SplitSource]) -> bool:
    names = {source.name for source in sources}
    if split is None or split in names:
        return split in (None, name)
    return name in (split_name(split), plain_name(split))


def _with_findings(
    dataset: Dataset, layout: Layout, read: Sequence[tuple[Dataset, Path]]
) -> Dataset:
    """Adds what was found in the folder as a whole."""
    findings, root = dataset.findings.copy(), layout.listing.root
    suffix = layout.sources[0].suffix
    for file in _left_pictures(layout, read):
        findings.add("pictures_left", file.relative_to(root).as_posix())
    for file in layout.listing.junk:
        if file.suffix.lower() == suffix:
            findings.add("files_hidden", file.relative_to(root).as_posix())
    for file in layout.left:
        findings.add("lists_left", file.relative_to(root).as_posix())
    for file in layout.others:
        findings.add("splits_left", file.relative_to(root).as_posix())
    return replace(dataset, findings=findings)


def _left_pictures(
    layout: Layout, read: Sequence[tuple[Dataset, Path]]
) -> Iterable[Path]:
    """Pictures without annotations; where a list tells which are meant, none."""
    sources = layout.sources
    if all(isinstance(s, VocSource) and s.origin.is_dir() for s in sources):
        return left_pictures(layout.listing, read)
    return unlabelled_pictures(
        layout.listing, [s for s in sources if isinstance(s, YoloSource)]
    )


def _nothing_found(listing: Listing, form: str | None) -> str:
    root = listing.root
    if root.is_file():
        return (
            f"{root}: is a file; name its folder (unpacked), or give a COCO file with "
            "--annotations, --images and --split"
        )
    if not root.is_dir():
        return f"{root}: no such folder"
    if (root / "dataset.json").is_file():
        return f"{root}: is converted already; train with --data {root}"
    signs = {
        "coco": "COCO's annotations/instances_SPLIT.json or another JSON file with "
        "images, annotations and categories",
        "voc": "Pascal VOC's XML files with <annotation>",
        "yolo": "YOLO's data.yaml or classes.txt",
    }
    looked = ", and ".join(text for key, text in signs.items() if form in (None, key))
    return (
        f"{root}: no data set found; looked for {looked}; there is: {summary(listing)}"
    )
