"""Where a deterministic run is in its data.

The data are drawn anew at each multiple of `trainer.checkpoint_interval`, with the
number of that step added to the seed. So what a step sees depends on its number only: a
run that is resumed passes over the batches since the last multiple.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf


def begin_of_part(step: int, trainer: Any) -> int:
    """Returns the step at which the data of a step were drawn.

    Args:
        step: steps done.
        trainer: settings.
    """
    return step - step % trainer.checkpoint_interval


@contextlib.contextmanager
def seeded(seed: int | None, then: int | None) -> Iterator[None]:
    """Random operations that are made inside have `seed`, later ones `then`.

    Args:
        seed: TensorFlow's global seed; None changes nothing.
        then: the seed afterwards.
    """
    if seed is None:
        yield
        return
    tf.random.set_seed(seed)
    try:
        yield
    finally:
        tf.random.set_seed(then)
