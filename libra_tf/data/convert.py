"""Converts one split to TFRecords, an evaluation file and an entry in the manifest.

The annotations are held in memory, the pixels stream through. Nothing under a final
name changes before the last image has been read.
"""

from __future__ import annotations

import contextlib
import functools
import random
import re
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from libra_tf.data import manifest
from libra_tf.data.clean import clean_dataset
from libra_tf.data.coco_writer import coco_lines
from libra_tf.data.findings import Findings
from libra_tf.data.image_names import settle_names
from libra_tf.data.images import MAX_PIXELS, find_image, read_image
from libra_tf.data.records import Dataset, ImageRecord
from libra_tf.data.tfrecord import ShardWriter, make_example
from libra_tf.data.workers import map_in_order
from libra_tf.errors import UserError
from libra_tf.files.atomic import kept_if_filled, write_text
from libra_tf.files.lock import locked
from libra_tf.files.progress_line import ProgressLine

SHARD_BYTES = 256 << 20
SHARD_IMAGES = 1000
MAX_SHARDS = 99_999
# No hyphen: `train-*` would also match the shards of a split `train-extra`.
SPLIT_NAME = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True)
class _Job:
    """What a worker needs beside the image record."""

    image_dir: str
    class_names: Mapping[int, str]
    masks: bool
    max_pixels: int


def convert(
    dataset: Dataset,
    image_dir: str | Path,
    out: str | Path,
    split: str,
    *,
    num_shards: int | None = None,
    workers: int = 1,
    strict: bool = False,
    masks: bool | None = None,
    max_pixels: int = MAX_PIXELS,
    shuffle: bool | None = None,
    shuffle_seed: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Converts one split.

    Args:
        dataset: the split, from `read_coco` or `read_voc`.
        image_dir: the folder that its file names are relative to.
        out: the folder to write to; may hold other splits, whose classes agree.
        split: name of the split: letters, digits and `_`.
        num_shards: default one per 1000 images or 256 MB, whichever gives more.
        workers: processes that read images; more than one needs a main module that can
            be imported again (`if __name__ == "__main__":`).
        strict: raise where a box would be clipped, dropped or made a mask.
        masks: default whether any object has a segmentation.
        max_pixels: refuse larger images.
        shuffle: mix the images over the shards; default for splits named `train...`.
        shuffle_seed: equal seeds give equal files.
        quiet: say nothing on stderr.

    Returns:
        The split's entry in `dataset.json`; `image_sizes` are minimum, median, maximum.

    Raises:
        UserError: names the file and record at fault; `out` is as it was.
    """
    out = Path(out)
    _check_names(dataset, split)
    dataset = settle_names(dataset, image_dir)
    masks = dataset.has_masks if masks is None else masks
    dataset, findings = clean_dataset(dataset, masks, strict)
    classes = manifest.merged_categories(out, split, dataset.categories)
    dataset = replace(dataset, categories=classes)
    num_shards = num_shards or _default_shards(dataset, image_dir)
    num_shards = min(max(num_shards, 1), len(dataset.images), MAX_SHARDS)
    shuffle = split.startswith("train") if shuffle is None else shuffle
    images = _in_order(dataset, shuffle, shuffle_seed)
    names = {category.id: category.name for category in dataset.categories}
    encode = functools.partial(_encode, _Job(str(image_dir), names, masks, max_pixels))
    progress = None if quiet else ProgressLine(split, len(images))
    with (
        kept_if_filled(out),
        ShardWriter(out, split, num_shards, len(images)) as writer,
        contextlib.closing(map_in_order(encode, images, workers)) as records,
    ):
        for record in records:
            writer.write(record)
            if progress:
                progress.step()
        entry = _entry(dataset, split, num_shards, masks, findings)
        _publish(writer, dataset, out, split, entry)
    if progress:
        progress.finish()
        for line in findings.lines():
            print(f"{split}: {line}", file=sys.stderr)
    return entry


def _check_names(dataset: Dataset, split: str) -> None:
    if not SPLIT_NAME.fullmatch(split):
        raise UserError(
            f"split {split!r}: a split is named with letters, digits and _ only"
        )
    if not dataset.images:
        raise UserError(f"{dataset.source}: no images; nothing to convert")


def _default_shards(dataset: Dataset, image_dir: str | Path) -> int:
    num_bytes = sum(
        find_image(image_dir, image.file_name).stat().st_size
        for image in dataset.images
    )
    return max(num_bytes // SHARD_BYTES, len(dataset.images) // SHARD_IMAGES) + 1


def _in_order(dataset: Dataset, shuffle: bool, seed: int) -> list[ImageRecord]:
    images = list(dataset.images)
    if shuffle:
        random.Random(seed).shuffle(images)
    return images


def _encode(job: _Job, image: ImageRecord) -> bytes:
    encoded = read_image(job.image_dir, image, job.max_pixels)
    return make_example(image, encoded, job.class_names, job.masks)


def _publish(
    writer: ShardWriter, dataset: Dataset, out: Path, split: str, entry: dict[str, Any]
) -> None:
    """Exchanges the split's files; killed halfway, the split is simply not there."""
    try:
        with locked(out):
            manifest.merged_categories(out, split, dataset.categories)
            manifest.withdraw_split(out, split)
            writer.publish()
            write_text(out / entry["annotations"], coco_lines(dataset))
            manifest.add_split(out, split, dataset.categories, entry)
    except OSError as error:
        raise UserError(f"{out}: cannot write: {error.strerror}") from error


def _entry(
    dataset: Dataset, split: str, num_shards: int, masks: bool, findings: Findings
) -> dict[str, Any]:
    widths = sorted(image.width for image in dataset.images)
    heights = sorted(image.height for image in dataset.images)
    return {
        "num_images": len(dataset.images),
        "num_annotations": sum(len(image.annotations) for image in dataset.images),
        "tfrecords": f"{split}-*.tfrecord",
        "num_shards": num_shards,
        "annotations": f"{split}.json",
        "masks": masks,
        "image_sizes": {
            name: [values[0], statistics.median_low(values), values[-1]]
            for name, values in (("width", widths), ("height", heights))
        },
        "findings": findings.as_dict(),
    }
