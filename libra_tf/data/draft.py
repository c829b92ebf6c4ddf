"""One split on its way to its files: checked, read, written under hidden names."""

from __future__ import annotations

import contextlib
import functools
import random
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from libra_tf.data.clean import clean_dataset
from libra_tf.data.copies import Hashes, check_copies, picture_hash
from libra_tf.data.faults import Fault, bad_images, orphans, refusal_lines
from libra_tf.data.findings import Findings
from libra_tf.data.image_names import settle_names
from libra_tf.data.images import MAX_PIXELS, read_image, with_upright_sizes
from libra_tf.data.meaning import check_boxes, check_classes
from libra_tf.data.pictures import fill_sizes, locate
from libra_tf.data.records import Dataset, FileId, ImageRecord
from libra_tf.data.tfrecord import ShardWriter, make_example
from libra_tf.data.workers import map_in_order
from libra_tf.errors import UserError
from libra_tf.files.progress_line import ProgressLine

SHARD_BYTES = 256 << 20
SHARD_IMAGES = 1000
MAX_SHARDS = 99_999


@dataclass(frozen=True)
class Options:
    """How to convert.

    Attributes:
        num_shards: default one per 1000 images or 256 MB, whichever gives more.
        workers: processes that read images; more than one needs a main module that can
            be imported again (`if __name__ == "__main__":`).
        strict: raise for all that the rules of `rules.RULES` refuse then.
        skip_bad: leave bad pictures out if they are at most this share; None: refuse.
        masks: default whether any object has a segmentation.
        max_pixels: refuse larger images.
        exif: what to do with a picture that its EXIF tag turns and whose size is
            annotated as it is stored: "refuse" it, "turn" it as if it were annotated
            upright, or "ignore" the tag. One that is annotated upright is turned.
        shuffle: mix the images over the shards; default for splits named `train...`.
        shuffle_seed: equal seeds give equal files.
        quiet: say nothing on stderr.
    """

    num_shards: int | None = None
    workers: int = 1
    strict: bool = False
    skip_bad: float | None = None
    masks: bool | None = None
    max_pixels: int = MAX_PIXELS
    exif: str = "refuse"
    shuffle: bool | None = None
    shuffle_seed: int = 0
    quiet: bool = False


@dataclass(frozen=True)
class Draft:
    """A split whose records are written; `dataset` is what they hold."""

    split: str
    dataset: Dataset
    writer: ShardWriter
    num_shards: int
    masks: bool
    hashes: Hashes


@dataclass(frozen=True)
class _Job:
    """What a worker needs beside the image record."""

    image_dir: str
    class_names: Mapping[int, str]
    masks: bool
    max_pixels: int
    exif: str


@dataclass(frozen=True)
class _Encoded:
    """A picture as it is written, the hash of its content, and rules that applied."""

    record: bytes
    digest: str
    rules: tuple[str, ...]


@contextlib.contextmanager
def draft_split(
    dataset: Dataset,
    image_dir: str | Path,
    out: Path,
    split: str,
    options: Options,
    hashes: dict[str, Hashes],
) -> Iterator[Draft]:
    """Checks a split and writes its records; nothing is left without `publish`.

    Args:
        dataset: as a reader returned it, its category ids settled.
        image_dir: the folder that its file names are relative to.
        out: the folder to write to.
        split: name of the split.
        options: how to convert.
        hashes: of the other splits' pictures; those of this one are added, also where
            it is refused.

    Raises:
        UserError: names all that is wrong with the split.
    """
    names: dict[FileId, str] = {i.id: i.file_name for i in dataset.images}
    num_images = len(bad_images(dataset.faults) | names.keys())
    num_objects = sum(len(image.annotations) for image in dataset.images)
    num_objects += len(orphans(dataset.faults))
    masks = dataset.has_masks if options.masks is None else options.masks
    dataset, paths = _prepare(dataset, image_dir, masks, options.exif)
    images = _in_order(dataset, split, options)
    num_shards = options.num_shards or _default_shards(images, paths)
    num_shards = min(max(num_shards, 1), max(len(images), 1), MAX_SHARDS)
    classes = {category.id: category.name for category in dataset.categories}
    job = _Job(str(image_dir), classes, masks, options.max_pixels, options.exif)
    with ShardWriter(out, split, num_shards, len(images)) as writer:
        found = _write(images, job, writer, split, options, dataset.findings)
        dataset, own = _settle(dataset, found, paths)
        check_copies(own, hashes, dataset.findings)
        hashes[split] = own
        check_classes(dataset, dataset.findings)
        refused = refusal_lines(
            dataset.faults, num_images, options.skip_bad, num_objects
        )
        if not refused:
            _count_skipped(dataset, names)
        _tell(dataset, split, options)
        _refuse(dataset, refused, options)
        yield Draft(split, dataset, writer, num_shards, masks, own)


def _prepare(
    dataset: Dataset, image_dir: str | Path, masks: bool, exif: str
) -> tuple[Dataset, dict[int, Path]]:
    """Does all that needs no pixels; returns the good pictures and their files."""
    dataset, paths = locate(settle_names(dataset, image_dir), image_dir)
    if exif == "turn":
        dataset = with_upright_sizes(dataset, image_dir)
    dataset = fill_sizes(dataset, image_dir, exif)
    faults = check_boxes(dataset, dataset.findings)
    dataset = clean_dataset(dataset, masks)
    return replace(dataset, faults=(*dataset.faults, *faults)), paths


def _in_order(dataset: Dataset, split: str, options: Options) -> list[ImageRecord]:
    images = list(dataset.images)
    shuffle = options.shuffle
    if split.startswith("train") if shuffle is None else shuffle:
        random.Random(options.shuffle_seed).shuffle(images)
    return images


def _default_shards(images: list[ImageRecord], paths: Mapping[int, Path]) -> int:
    num_bytes = sum(paths[image.id].stat().st_size for image in images)
    return max(num_bytes // SHARD_BYTES, len(images) // SHARD_IMAGES) + 1


def _write(
    images: list[ImageRecord],
    job: _Job,
    writer: ShardWriter,
    split: str,
    options: Options,
    findings: Findings,
) -> dict[int, str | Fault]:
    """Writes the pictures; returns the hash, or what is wrong, of each image id."""
    encode = functools.partial(_encode, job)
    progress = None if options.quiet else ProgressLine(split, len(images))
    found: dict[int, str | Fault] = {}
    with contextlib.closing(map_in_order(encode, images, options.workers)) as results:
        for image, result in zip(images, results, strict=True):
            if isinstance(result, Fault):
                writer.skip()
                found[image.id] = result
            else:
                writer.write(result.record)
                found[image.id] = result.digest
                for rule in result.rules:
                    findings.add(rule, image.file_name)
            if progress:
                progress.step()
    if progress:
        progress.finish()
    return found


def _encode(job: _Job, image: ImageRecord) -> _Encoded | Fault:
    try:
        encoded = read_image(job.image_dir, image, job.max_pixels, job.exif)
        record = make_example(image, encoded, job.class_names, job.masks)
    except UserError as error:
        return Fault(str(error), image.id)
    return _Encoded(record, picture_hash(encoded.data), encoded.findings)


def _settle(
    dataset: Dataset, found: Mapping[int, str | Fault], paths: Mapping[int, Path]
) -> tuple[Dataset, Hashes]:
    """Returns the data set of what was written, and a hash for each file."""
    results = [found[image.id] for image in dataset.images]
    faults = (*dataset.faults, *(f for f in results if isinstance(f, Fault)))
    bad = bad_images(faults)
    images = tuple(image for image in dataset.images if image.id not in bad)
    hashes = {paths[i.id]: (i.file_name, str(found[i.id])) for i in images}
    return replace(dataset, images=images, faults=faults), dict(hashes.values())


def _count_skipped(dataset: Dataset, names: Mapping[FileId, str]) -> None:
    named = {f.image: f.file_name for f in dataset.faults if f.image is not None}
    for image, name in named.items():
        dataset.findings.add("skipped", names.get(image) or name or str(image))
    for fault in orphans(dataset.faults):
        dataset.findings.add("orphans", fault.text.partition(": image_id")[0])


def _tell(dataset: Dataset, split: str, options: Options) -> None:
    told = None if not options.strict else False  # The others are refused.
    for line in () if options.quiet else dataset.findings.lines(told):
        print(f"{split}: {line}", file=sys.stderr)


def _refuse(dataset: Dataset, lines: list[str], options: Options) -> None:
    if options.strict:
        lines = lines + dataset.findings.strict_lines(dataset.source)
    if not lines and not dataset.images:
        lines = [f"{dataset.source}: no good pictures; nothing to convert"]
    if lines:
        raise UserError(*lines)
