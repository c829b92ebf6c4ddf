"""Memory that does not suffice, in one line that says what to lower."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from libra_tf.errors import UserError


@contextlib.contextmanager
def named_memory_errors(params: Any) -> Iterator[None]:
    """Names the settings that the memory of a training depends on.

    Args:
        params: experiment.

    Raises:
        UserError: a tensor could not be allocated.
    """
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        text = str(error)
        words = ("OOM", "emory")  # of the allocators; XLA's says "Out of memory"
        if text and not any(word in text for word in words):
            raise
        shape = re.search(r"shape ?(\[[\d,]*\])", text)
        device = re.search(r"device:(\w+:\d+)", text)
        what = f" for a tensor of shape {shape[1]}" if shape else ""
        where = f" on {device[1]}" if device else ""
        sizes = getattr(getattr(params.task, "model", None), "input_size", None) or []
        size = "x".join(map(str, sizes[:2])) or "unknown size"
        raise UserError(
            f"out of memory{what}{where}, with batches of "
            f"{params.task.train_data.global_batch_size} images of {size}: lower "
            "task.train_data.global_batch_size or task.model.input_size; the last "
            "checkpoint is kept, and the same command goes on from it"
        ) from error
