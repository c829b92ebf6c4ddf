"""Parts a set that has no splits: pictures at random, the same for the same seed."""

from __future__ import annotations

import random
from dataclasses import replace

from libra_tf.data.findings import Findings
from libra_tf.data.records import Dataset
from libra_tf.errors import UserError


def part(
    dataset: Dataset, val_fraction: float, seed: int = 0
) -> tuple[Dataset, Dataset]:
    """Returns the pictures for training and those for evaluation, in their order.

    What was found in the whole is told of the first.

    Args:
        dataset: the whole set.
        val_fraction: share of the pictures for evaluation, in (0, 1), rounded.
        seed: equal seeds part equal sets equally.

    Raises:
        UserError: a part would have no picture.
    """
    count = len(dataset.images)
    num_val = round(val_fraction * count)
    if not 0 < num_val < count:
        empty = "evaluation" if num_val == 0 else "training"
        raise UserError(
            f"{dataset.source}: --val-fraction {val_fraction:g} of {count} "
            f"image{'s' * (count != 1)} leaves none for {empty}; give another fraction"
        )
    chosen = set(random.Random(seed).sample(range(count), num_val))
    val = tuple(image for i, image in enumerate(dataset.images) if i in chosen)
    train = tuple(image for i, image in enumerate(dataset.images) if i not in chosen)
    rest = replace(dataset, images=val, findings=Findings(), faults=())
    return replace(dataset, images=train), rest
