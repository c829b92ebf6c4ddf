"""Converts splits to TFRecords, evaluation files and entries in the manifest.

The annotations are held in memory, the pixels stream through. Nothing under a final
name changes before the last image of the last split has been read.
"""

from __future__ import annotations

import contextlib
import re
import statistics
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from libra_tf.data import manifest
from libra_tf.data.coco_writer import coco_lines
from libra_tf.data.copies import hash_file, hashes_of_others
from libra_tf.data.draft import Draft, Options, draft_split
from libra_tf.data.faults import skipped_lines
from libra_tf.data.ids import had_zero, settle_zero
from libra_tf.data.objects import count_per_image
from libra_tf.data.records import Dataset
from libra_tf.errors import UserError
from libra_tf.files.atomic import kept_if_filled, write_text
from libra_tf.files.json_files import write_json
from libra_tf.files.lock import locked

# No hyphen: `train-*` would also match the shards of a split `train-extra`.
SPLIT_NAME = re.compile(r"[A-Za-z0-9_]+")

Source = tuple[str, Dataset, str | Path]


def convert(
    dataset: Dataset, image_dir: str | Path, out: str | Path, split: str, **options: Any
) -> dict[str, Any]:
    """Converts one split.

    Args:
        dataset: the split, from `read_coco` or `read_voc`.
        image_dir: the folder that its file names are relative to.
        out: the folder to write to; may hold other splits, whose classes agree.
        split: name of the split: letters, digits and `_`.
        **options: see `Options`.

    Returns:
        The split's entry in `dataset.json`; `image_sizes` are minimum, median, maximum.

    Raises:
        UserError: names the files and records at fault; `out` is as it was.
    """
    return convert_all([(split, dataset, image_dir)], out, **options)[split]


def convert_all(
    sources: Iterable[Source], out: str | Path, **options: Any
) -> dict[str, dict[str, Any]]:
    """Converts several splits; where one is refused, none changes.

    Args:
        sources: name, data set and image folder of each split, see `convert`.
        out: the folder to write to.
        **options: see `Options`.

    Returns:
        The entries in `dataset.json` by split.

    Raises:
        UserError: names what is wrong in all of the splits.
    """
    out = Path(out)
    sources = _settle_categories(list(sources), out)
    hashes = hashes_of_others(out, [split for split, _, _ in sources])
    drafts: list[Draft] = []
    refusals: list[str] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(kept_if_filled(out))
        for split, dataset, image_dir in sources:
            draft = draft_split(
                dataset, image_dir, out, split, Options(**options), hashes
            )
            try:
                drafts.append(stack.enter_context(draft))
            except UserError as error:
                refusals += error.reasons
        if refusals:
            raise UserError(*refusals)
        return {draft.split: _publish(draft, out) for draft in drafts}


def _settle_categories(sources: list[Source], out: Path) -> list[Source]:
    """Gives the splits one numbering of classes, that of the folder's other splits."""
    names = [split for split, _, _ in sources]
    moved = had_zero(manifest.categories_of_others(out, names))
    datasets = settle_zero([dataset for _, dataset, _ in sources], moved)
    settled = []
    for (split, _, image_dir), dataset in zip(sources, datasets, strict=True):
        _check_split(split, dataset)
        classes = manifest.merged_categories(out, split, dataset.categories)
        settled.append((split, replace(dataset, categories=classes), image_dir))
    return settled


def _check_split(split: str, dataset: Dataset) -> None:
    if not SPLIT_NAME.fullmatch(split):
        raise UserError(
            f"split {split!r}: a split is named with letters, digits and _ only"
        )
    if not dataset.images and not dataset.faults:
        raise UserError(f"{dataset.source}: no images; nothing to convert")


def _publish(draft: Draft, out: Path) -> dict[str, Any]:
    """Exchanges the split's files; killed halfway, the split is simply not there."""
    split, dataset, entry = draft.split, draft.dataset, _entry(draft)
    try:
        with locked(out):
            manifest.merged_categories(out, split, dataset.categories)
            manifest.withdraw_split(out, split)
            draft.writer.publish()
            write_text(out / entry["annotations"], coco_lines(dataset))
            write_json(out / hash_file(split), draft.hashes)
            _list_skipped(dataset, out / f"{split}.skipped.txt")
            manifest.add_split(out, split, dataset.categories, entry)
    except OSError as error:
        raise UserError(f"{out}: cannot write: {error.strerror}") from error
    return entry


def _list_skipped(dataset: Dataset, path: Path) -> None:
    if dataset.faults:
        write_text(path, skipped_lines(dataset.faults))
    else:
        path.unlink(missing_ok=True)


def _entry(draft: Draft) -> dict[str, Any]:
    dataset, split = draft.dataset, draft.split
    widths = sorted(image.width for image in dataset.images)
    heights = sorted(image.height for image in dataset.images)
    return {
        "num_images": len(dataset.images),
        "num_annotations": sum(len(image.annotations) for image in dataset.images),
        "tfrecords": f"{split}-*.tfrecord",
        "num_shards": draft.num_shards,
        "annotations": f"{split}.json",
        "masks": draft.masks,
        "image_sizes": {
            name: [values[0], statistics.median_low(values), values[-1]]
            for name, values in (("width", widths), ("height", heights))
        },
        "objects_per_image": count_per_image(
            len(image.annotations) for image in dataset.images
        ),
        "file_ids": manifest.own_ids(dataset.categories),
        "findings": dataset.findings.as_dict(),
    }
