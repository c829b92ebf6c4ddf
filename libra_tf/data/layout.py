"""Finds the splits of a folder in COCO's layout.

    DIR/annotations/instances_SPLIT.json
    DIR/images/SPLIT/... or DIR/SPLIT/... or DIR/images/...

COCO's own `train2017` becomes the split `train`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from libra_tf.data.coco import read_coco
from libra_tf.data.records import Dataset
from libra_tf.errors import UserError

PREFIX, SUFFIX = "instances_", ".json"
USUAL_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class SplitSource:
    """One split before conversion: its file, and where its images may lie."""

    name: str
    annotation_file: Path
    image_dirs: tuple[Path, ...]


def split_name(raw: str) -> str:
    """Returns train, val or test for names that begin so, else the name itself."""
    return next((usual for usual in USUAL_SPLITS if raw.startswith(usual)), raw)


def find_splits(folder: str | Path) -> list[SplitSource]:
    """Returns the splits of a folder, train first.

    Raises:
        UserError: not this layout, or two files for one split.
    """
    folder = Path(folder)
    files = sorted((folder / "annotations").glob(f"{PREFIX}*{SUFFIX}"))
    if not files:
        voc = (folder / "JPEGImages").is_dir()
        raise UserError(
            f"{folder}: no annotations/{PREFIX}SPLIT{SUFFIX} here; "
            + (f"for Pascal VOC use --voc {folder}" if voc else "")
            + ("" if voc else "give --images and --annotations, or --voc")
        )
    sources: dict[str, SplitSource] = {}
    for file in files:
        raw = file.name[len(PREFIX) : -len(SUFFIX)]
        name = split_name(raw)
        if name in sources:
            raise UserError(
                f"{file} and {sources[name].annotation_file.name} are both the split "
                f"{name}; convert one of them with --images and --annotations"
            )
        sources[name] = SplitSource(name, file, _image_dirs(folder, raw, name))
    order = {name: rank for rank, name in enumerate(USUAL_SPLITS)}
    return sorted(sources.values(), key=lambda s: (order.get(s.name, 9), s.name))


def pick_image_dir(source: SplitSource, dataset: Dataset) -> Path:
    """Returns the image folder of a split: the one with the split's first image."""
    if not source.image_dirs:
        raise UserError(
            f"{source.annotation_file}: no folder images/{source.name}, "
            f"{source.name} or images beside annotations; give --images"
        )
    for candidate in source.image_dirs:
        if dataset.images and (candidate / dataset.images[0].file_name).is_file():
            return candidate
    return source.image_dirs[0]


def layout_sources(
    folder: str | Path, split: str | None = None
) -> Iterator[tuple[str, Dataset, Path]]:
    """Yields name, data set and image folder of every split, or of one."""
    sources = find_splits(folder)
    chosen = [source for source in sources if split in (None, source.name)]
    if not chosen:
        known = ", ".join(source.name for source in sources)
        raise UserError(f"{folder}: no split {split!r}; there are: {known}")
    for source in chosen:
        dataset = read_coco(source.annotation_file)
        yield source.name, dataset, pick_image_dir(source, dataset)


def _image_dirs(folder: Path, raw: str, name: str) -> tuple[Path, ...]:
    names = (f"images/{raw}", f"images/{name}", raw, name, "images")
    candidates = dict.fromkeys(folder / each for each in names)
    return tuple(path for path in candidates if path.is_dir())
