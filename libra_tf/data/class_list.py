"""One list of classes for all splits of a set: a name has one id, an id one name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from libra_tf.data.faults import refuse_faults
from libra_tf.data.ids import (
    lent_categories,
    renumbered,
    settle_zero,
    with_class_ids,
)
from libra_tf.data.records import Category, Dataset
from libra_tf.errors import UserError


def one_class_list(
    datasets: Sequence[Dataset],
    classes: Sequence[str] | None = None,
    by_name: bool = False,
) -> list[Dataset]:
    """Returns the splits with the classes of all.

    Ids stay where no two splits contradict each other. Where they do, the ids of the
    first split stay, and the objects of the others are given them by name.

    Args:
        datasets: the splits.
        classes: the names in order of their ids, from 1; default as above.
        by_name: the source has no ids: they count the sorted names of all splits.

    Raises:
        UserError: no classes; an object of a class that is not among `classes`; two
            names of one id that may be two words for one class.
    """
    datasets = settle_zero(datasets)
    _refuse_faults(datasets, classes)
    if classes is None and by_name:
        classes = sorted({c.name for data in datasets for c in data.categories})
    if classes is not None:
        ids = {name: key for key, name in enumerate(classes, start=1)}
        settled = [_with_ids(data, ids, datasets, told=False) for data in datasets]
        return [_without_file_ids(d) for d in settled] if by_name else settled
    if not _contradictions(datasets):
        ids = {c.name: c.id for data in datasets for c in data.categories}
        return [_with_ids(data, ids, datasets) for data in datasets]
    _refuse_doubt(datasets)
    return [_with_ids(data, _ids_by_name(datasets), datasets) for data in datasets]


def _refuse_faults(datasets: Sequence[Dataset], classes: Sequence[str] | None) -> None:
    if classes is not None and (not all(classes) or len(set(classes)) < len(classes)):
        raise UserError("a class is given twice or without a name; mend --classes")
    if classes is None and not any(data.categories for data in datasets):
        refuse_faults([fault for data in datasets for fault in data.faults])
        raise UserError(
            f"{datasets[0].source}: no objects; give the class names with --classes"
        )
    for data in datasets if classes is not None else ():
        used = {a.category_id for image in data.images for a in image.annotations}
        for category in data.categories:
            if category.id in used and category.name not in (classes or ()):
                raise UserError(
                    f"{data.source}: class {category.name!r} is not among the given "
                    "classes; add it to --classes"
                )


def _contradictions(datasets: Sequence[Dataset]) -> bool:
    pairs = {(c.id, c.name) for data in datasets for c in data.categories}
    ids, names = zip(*pairs, strict=True)
    return len(set(ids)) < len(pairs) or len(set(names)) < len(pairs)


def _refuse_doubt(datasets: Sequence[Dataset]) -> None:
    """Refuses an id with two names of which neither split knows the other's."""
    for one in datasets:
        for other in datasets:
            names, others = _names(one), _names(other)
            for key in names.keys() & others.keys():
                mine, theirs = names[key], others[key]
                is_known = mine in others.values() or theirs in names.values()
                if mine != theirs and not is_known:
                    raise UserError(
                        f"{other.source}: class {key} is {theirs!r}, but {mine!r} in "
                        f"{one.source}, and nothing tells whether they are the same; "
                        "write equal names, or other ids"
                    )
    _refuse_variants(datasets)


def _refuse_variants(datasets: Sequence[Dataset]) -> None:
    known: dict[str, tuple[str, str]] = {}
    for data in datasets:
        for category in data.categories:
            name, source = known.setdefault(
                _bare(category.name), (category.name, data.source)
            )
            if name != category.name:
                raise UserError(
                    f"{data.source}: class {category.name!r} is {name!r} in {source}, "
                    "with other ids; write equal names"
                )


def _bare(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum()) or name


def _names(data: Dataset) -> dict[int, str]:
    return {category.id: category.name for category in data.categories}


def _ids_by_name(datasets: Sequence[Dataset]) -> dict[str, int]:
    ids: dict[str, int] = {}
    for data in datasets:
        for category in data.categories:
            is_free = category.id not in ids.values()
            key = category.id if is_free else max(ids.values()) + 1
            ids.setdefault(category.name, key)
    return ids


def _without_file_ids(data: Dataset) -> Dataset:
    categories = (replace(category, file_id=None) for category in data.categories)
    return replace(data, categories=tuple(categories))


def _with_ids(
    data: Dataset, ids: dict[str, int], datasets: Sequence[Dataset], told: bool = True
) -> Dataset:
    """Returns a split with these ids for these names, and all of them in its list."""
    findings = data.findings.copy()
    own = {category.name: category for category in data.categories}
    others = {c.name for each in datasets for c in each.categories}
    categories, lent = [], []
    for name, key in sorted(ids.items(), key=lambda item: item[1]):
        category = own.get(name)
        if category is None:
            if told or name in others:
                findings.add("classes_added", name)
            lent.append(Category(key, name))
            continue
        if told and category.id != key:
            findings.add("classes_by_name", name)
        categories.append(renumbered(category, key))
    categories += lent_categories(lent, categories)
    categories.sort(key=lambda category: category.id)
    moved = {
        c.id: ids[c.name] for c in data.categories if ids.get(c.name, c.id) != c.id
    }
    return replace(
        with_class_ids(data, moved), categories=tuple(categories), findings=findings
    )
