"""Ids as files have them, and the numbers that training and COCO's code need."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from libra_tf.data.findings import Findings
from libra_tf.data.records import Annotation, Category, Dataset, FileId
from libra_tf.data.values import as_key
from libra_tf.errors import UserError

# A detector gets one output per id up to the highest.
MAX_CATEGORY_ID = 100_000
MAX_ID = 2**63 - 1


def number_ids(keys: Iterable[FileId], low: int, high: int) -> dict[FileId, int]:
    """Returns a number for each id: itself where it is one in range, else a free one.

    Args:
        keys: see `as_key`; may repeat.
        low: lowest number that may stay.
        high: highest.
    """
    keys = list(dict.fromkeys(keys))
    used = {key for key in keys if isinstance(key, int) and low <= key <= high}
    free = free_numbers(used)
    return {key: int(key) if key in used else next(free) for key in keys}


def free_numbers(used: set[int]) -> Iterator[int]:
    """Yields the numbers from 1 that are not used."""
    return (number for number in itertools.count(1) if number not in used)


def file_id(raw: Any, number: int, findings: Findings) -> FileId | None:
    """Returns the file's own id where it is another than the number, and counts it."""
    if raw == number:
        return None
    key: FileId = raw if isinstance(raw, str) else int(raw)
    findings.add("mapped_ids", key)
    return key


def range_of_categories(keys: Iterable[FileId]) -> tuple[int, int]:
    """Returns the lowest and highest category id that a file may keep for now."""
    return 0, MAX_CATEGORY_ID - (0 in set(keys))


def settle_zero(datasets: Sequence[Dataset], moved: bool = False) -> list[Dataset]:
    """Drops a category of id 0 that no object has; else moves every id up by one.

    Args:
        datasets: the splits that are converted together.
        moved: whether an earlier split of the folder had its ids moved.
    """
    used = moved or any(
        annotation.category_id == 0
        for dataset in datasets
        for image in dataset.images
        for annotation in image.annotations
    )
    return [_move(d) if used and _is_as_read(d) else _drop(d) for d in datasets]


def had_zero(categories: Iterable[Category]) -> bool:
    """Whether ids were moved up by one, for a category that the file numbers 0."""
    return any(as_key(c.file_id) == 0 and c.id > 0 for c in categories)


def _is_as_read(dataset: Dataset) -> bool:
    return not had_zero(dataset.categories)


def _drop(dataset: Dataset) -> Dataset:
    kept = tuple(c for c in dataset.categories if c.id)
    if len(kept) == len(dataset.categories):
        return dataset
    if not kept:
        raise UserError(f"{dataset.source}: the only category is unused; no classes")
    findings = dataset.findings.copy()
    findings.add("zero_dropped", next(c.name for c in dataset.categories if not c.id))
    return replace(dataset, categories=kept, findings=findings)


def _move(dataset: Dataset) -> Dataset:
    findings = dataset.findings.copy()
    names = Counter(category.name for category in dataset.categories)
    twice = [name for name, number in names.items() if number > 1]
    if twice:
        raise UserError(f"{dataset.source}: categories: name {twice[0]!r} occurs twice")
    for category in dataset.categories:
        if category.id == 0:
            findings.add("zero_moved", category.name)
    categories = tuple(renumbered(c, c.id + 1) for c in dataset.categories)
    moved = with_class_ids(dataset, {c.id: c.id + 1 for c in dataset.categories})
    return replace(moved, categories=categories, findings=findings)


def renumbered(category: Category, key: int) -> Category:
    """Keeps the id of the file, in which detections are written back."""
    if category.id == key:
        return category
    file_id = category.id if category.file_id is None else category.file_id
    return replace(category, id=key, file_id=file_id)


def lent_categories(
    lent: Iterable[Category], own: Iterable[Category]
) -> list[Category]:
    """Returns classes that a split's file lacks, under ids that the file leaves free.

    Args:
        lent: classes of other splits; `id` is that of the set.
        own: those that the file has.
    """
    taken: set[FileId] = {c.id if c.file_id is None else c.file_id for c in own}
    categories = []
    for category in lent:
        key: FileId = category.id
        if key in taken:
            key = max((k for k in taken if isinstance(k, int)), default=0) + 1
        taken.add(key)
        file_id = None if key == category.id else key
        categories.append(replace(category, file_id=file_id))
    return categories


def with_class_ids(dataset: Dataset, ids: Mapping[int, int]) -> Dataset:
    """Returns the data set with other ids for the classes of its objects.

    Args:
        dataset: its list of categories stays.
        ids: the new by the old; those that are not in it stay.
    """
    if not ids:
        return dataset
    images = (
        replace(image, annotations=tuple(_moved(a, ids) for a in image.annotations))
        for image in dataset.images
    )
    return replace(dataset, images=tuple(images))


def _moved(annotation: Annotation, ids: Mapping[int, int]) -> Annotation:
    key = annotation.category_id
    return replace(annotation, category_id=ids[key]) if key in ids else annotation
