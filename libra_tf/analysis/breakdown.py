"""AP by class, size, both, and by how common a class is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from libra_tf.data.object_sizes import in_range
from libra_tf.evaluation.backends import Curves
from libra_tf.evaluation.coco import AREAS, category_names, mean_existing
from libra_tf.evaluation.coco_checks import GroundTruth

SIZES = tuple(AREAS[1:])
# LVIS: most images that have a class of the group; frequent is what is left.
FREQUENCIES = {"rare": 10, "common": 100, "frequent": None}


@dataclass(frozen=True)
class ClassRow:
    """Figures of a class; None where it has no object of that kind.

    Attributes:
        category_id: its id.
        name: its name.
        frequency: one of `FREQUENCIES`.
        images: that have an object of it, crowds aside.
        objects: of it, without crowds.
        ap: over IoU 0.5 to 0.95.
        ap50: at IoU 0.5.
        ap75: at IoU 0.75.
        ar: highest recall, over IoU 0.5 to 0.95.
        ap_by_size: size to AP.
        objects_by_size: size to number of objects; one of 32x32 is small and medium.
    """

    category_id: int
    name: str
    frequency: str
    images: int
    objects: int
    ap: float | None
    ap50: float | None
    ap75: float | None
    ar: float | None
    ap_by_size: dict[str, float | None]
    objects_by_size: dict[str, int]


@dataclass(frozen=True)
class GroupRow:
    """A group of classes or of objects.

    Attributes:
        name: of the group.
        classes: that have an object in it.
        objects: in it, without crowds.
        ap: mean over these classes; None of none.
        ar: the same of the highest recall.
    """

    name: str
    classes: int
    objects: int
    ap: float | None
    ar: float | None


def by_class(curves: Curves, truth: GroundTruth) -> list[ClassRow]:
    """Returns the figures of each class, by id.

    Args:
        curves: COCO's, see `engine.Evaluation.curves`.
        truth: that they are of.
    """
    names = category_names(truth.categories)
    objects = [a for a in truth.annotations if not a["iscrowd"]]
    of_class = np.array([a["category_id"] for a in objects], int)
    of_image = np.array([a["image_id"] for a in objects], int)
    areas = np.array([a["area"] for a in objects], float)
    precision, recall = curves.precision[..., -1], curves.recall[..., -1]
    rows = []
    for k, (category_id, name) in enumerate(names.items()):
        its = of_class == category_id
        images = len(np.unique(of_image[its]))
        rows.append(
            ClassRow(
                category_id,
                name,
                frequency(images),
                images,
                int(its.sum()),
                mean_existing(precision[:, :, k, 0]),
                mean_existing(precision[0, :, k, 0]),
                mean_existing(precision[5, :, k, 0]),
                mean_existing(recall[:, k, 0]),
                {
                    size: mean_existing(precision[:, :, k, number])
                    for number, size in enumerate(SIZES, start=1)
                },
                {size: int(in_range(areas[its], size).sum()) for size in SIZES},
            )
        )
    return rows


def frequency(images: int) -> str:
    """Returns the group of a class that so many images have."""
    return next(
        name for name, most in FREQUENCIES.items() if most is None or images <= most
    )


def by_size(curves: Curves, rows: list[ClassRow]) -> list[GroupRow]:
    """Returns small, medium and large objects, over all classes."""
    precision, recall = curves.precision[..., -1], curves.recall[..., -1]
    return [
        GroupRow(
            size,
            sum(row.objects_by_size[size] > 0 for row in rows),
            sum(row.objects_by_size[size] for row in rows),
            mean_existing(precision[..., number]),
            mean_existing(recall[..., number]),
        )
        for number, size in enumerate(SIZES, start=1)
    ]


def by_frequency(rows: list[ClassRow]) -> list[GroupRow]:
    """Returns rare, common and frequent classes; of none, those without an object."""
    groups = []
    for name in FREQUENCIES:
        its = [row for row in rows if row.frequency == name and row.objects]
        groups.append(
            GroupRow(
                name,
                len(its),
                sum(row.objects for row in its),
                _mean([row.ap for row in its]),
                _mean([row.ar for row in its]),
            )
        )
    return groups


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
